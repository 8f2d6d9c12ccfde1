"""The front door: the `amnesia` command, Ray sessions, jobs."""
