"""What a server adds: its models and their thread, its limits, the reasons of SQL."""
