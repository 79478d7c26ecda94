"""The topology model, the social platform itself, and the handle of a booted one."""
