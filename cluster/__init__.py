"""The `amnesia` command, Ray sessions and Ray jobs."""
