"""Token classification: texts in which stretches have labels."""
