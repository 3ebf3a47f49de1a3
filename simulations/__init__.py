"""Many clients and one server on one machine: populations, scenarios, orchestration and benchmarks."""
