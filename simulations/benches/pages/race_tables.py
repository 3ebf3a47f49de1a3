"""Tables of races and growth, from what is stored of them."""

from collections.abc import Iterator

from pydantic import TypeAdapter

from simulations.benches import aggregation, central, pfl, places
from simulations.benches.codecs import CodecBench
from simulations.benches.figures import figure, table, with_range
from simulations.benches.pages.bars import Found, race_of
from simulations.benches.racing import Race
from simulations.benches.scale import ScalePoint


def central_table(found: Found) -> str:
    """Return rates and ratios of the entrants."""
    race = race_of(found)
    rows = [
        [
            name,
            with_range(race.spread(name, central.RATE)),
            with_range(race.ratio(name, central.PLAIN, central.RATE)),
            with_range(race.ratio(name, central.OWN_KERNELS, central.RATE)),
        ]
        for name in race.laps
    ]
    same = "take the same steps" if found["same_step"] else "**do not take the same steps**"
    head = ("entrant", "interactions/s", "of plain PyTorch", "of the own kernels")
    size = f"{found['users']} users, {found['interactions_per_step']:,.0f} interactions a step"
    return f"{table(head, rows)}\n\n{size}; before the race the entrants {same}."


def places_table(found: Found) -> str:
    """Return users a second by place."""
    rows = TypeAdapter(list[places.Row]).validate_python(found["places"])
    cells = [
        [
            row.contestant.name,
            str(row.users),
            with_range(row.users_per_second_rounds),
            with_range(row.ratio_rounds),
            figure(row.users_per_second.median),
            f"{row.difference:.1g}" + ("" if row.same_model else " **another model**"),
        ]
        for row in rows
    ]
    head = ("place", "users", "users/s, rounds alone", "times Ray", "users/s, whole run", "model off by")
    return table(head, cells)


def pfl_table(found: Found) -> str:
    """Return ours beside pfl's, by size of the catalogue."""
    head = ("items", "", "ms a user, ours", "ms a user, pfl", "times pfl", "peak MiB, ours / pfl")
    return table(head, (row for one in found["works"] for row in _pfl_rows(one["work"]["num_items"], race_of(one))))


def _pfl_rows(items: int, race: Race) -> Iterator[list[str]]:
    for ours, theirs in pfl.PAIRS:
        peaks = (race.spread(name, pfl.PEAK).median / 2**20 for name in (ours, theirs))
        yield [
            f"{items:,}",
            "DP" if ours == pfl.OURS_DP else "no DP",
            *(with_range(race.spread(name, pfl.MILLISECONDS)) for name in (ours, theirs)),
            with_range(race.ratio(ours, theirs, pfl.RATE)),
            " / ".join(f"{peak:.0f}" for peak in peaks),
        ]


def scale_table(found: Found) -> str:
    """Return seconds and memory of a round by size, and the exponents."""
    race = race_of(found)
    points = TypeAdapter(list[ScalePoint]).validate_python(found["points"])
    laps = list(race.laps)
    rows = [
        [
            f"{point.users:,}",
            f"{point.items:,}",
            with_range(race.spread(name, "seconds")),
            figure(point.users_per_second),
            f"{point.peak_rss_bytes / 2**20:.0f}",
        ]
        for name, point in zip(laps, points, strict=True)
    ]
    fitted = [
        f"in {what} {found[key]:.2f}"
        for what, key in (("users", "exponent_users"), ("items", "exponent_items"))
        if found.get(key) is not None
    ]
    head = ("users", "items", "s a round", "users/s", "peak MiB of the process")
    return f"{table(head, rows)}\n\nExponents of the time: {' and '.join(fitted) or 'too few points'}."


def codec_table(found: Found) -> str:
    """Return bytes and quality by codec."""
    bench = TypeAdapter(CodecBench).validate_python(found)
    rows = [
        [
            row.name,
            figure(row.bytes_up, 6),
            f"{row.ratio:.3f}",
            f"{row.hits:.4f}",
            f"{row.gain:.4f}",
            f"{100 * row.change:+.2f} %",
            f"{row.difference.mean:+.4f} [{row.difference.low:+.4f}, {row.difference.high:+.4f}]",
        ]
        for row in bench.rows
    ]
    size = (
        f"{bench.users} users on {bench.nodes} nodes, {bench.rounds} rounds, seeds {', '.join(map(str, bench.seeds))}"
    )
    head = ("codec", "bytes up", "of float32", "HR@10", "NDCG@10", "HR@10 change", "difference (95 % over users)")
    return f"{table(head, rows)}\n\n{size}; bytes up: of one node's reply in a round."


def aggregate_table(found: Found) -> str:
    """Return replies a second by entrant, and memory by cohort."""
    race = race_of(found)
    rows = [
        [
            name,
            with_range(race.spread(name, "replies_per_second")),
            with_range(race.spread(name, "replies_per_processor_second")),
            with_range(race.ratio(name, aggregation.FLOWER, "replies_per_second")),
        ]
        for name in race.laps
    ]
    memory = TypeAdapter(list[aggregation.Memory]).validate_python(found["memory"])
    sizes = [[f"{one.cohort:,}", f"{one.process_mib:.0f}", f"{one.fold_mib:.1f}"] for one in memory]
    return "\n\n".join(
        [
            table(("who", "replies a second", "a processor second", "of FedAvg's"), rows),
            table(("cohort", "peak MiB of the process", "of it beyond its start"), sizes),
        ]
    )
