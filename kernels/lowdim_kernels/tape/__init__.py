"""Training runs and small products as tables that one small compiled library interprets."""
