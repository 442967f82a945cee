"""Commands: what each word of the command line takes, and which verb answers it."""
