"""How a trainer's process takes memory from the system, on boards that have little."""

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144", "MALLOC_ARENA_MAX": "1"}
"""For the environment in which the process starts. glibc raises the size from which it maps blocks whenever one is
freed, and keeps tables of a large catalogue in its heap: a task over 50,000 items then holds 60 MiB more at its peak
(``fedrec bench device-training``). Other C libraries do not read these."""
