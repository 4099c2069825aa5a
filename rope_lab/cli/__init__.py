"""The runnable functions: thin, on top of everything."""
