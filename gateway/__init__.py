"""The gateway: authenticates, routes, admits, batches, answers. It opens no database and imports no Django."""
