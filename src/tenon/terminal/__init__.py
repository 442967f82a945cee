"""Terminal: what the verbs return, as pages for a terminal. Nothing here prints."""
