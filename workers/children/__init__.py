"""Programs that steps run in a process of their own. They know neither Django nor the database."""
