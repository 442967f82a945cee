"""Plan: the settings of all floors in one value, resolved and explained."""
