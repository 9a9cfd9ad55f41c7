"""What a ticket wants, found for many at once, is what looking at each device by itself finds."""

from __future__ import annotations

from gpuspawner.core.claims import Drain, Holder, Pin, Terms
from gpuspawner.core.fitting import may_use, suits
from gpuspawner.core.model import Device, DeviceRecord, Party, SpawnRequest
from gpuspawner.core.situation import Board, Situation
from hypothesis import given
from hypothesis import strategies as st
from support.build import NOW, ago, device, record, ticket

MODELS = ("A100", "H100", "A100 MIG 1g.5gb", "A100 MIG 3g.20gb", "odd slice")


def devices() -> st.SearchStrategy[list[DeviceRecord]]:
    def make(n: int, model: str, memory: int, capability: tuple[int, int] | None) -> Device:
        parent = "GPU-0" if "MIG" in model or "slice" in model else None
        name = f"{'MIG' if parent else 'GPU'}-{n}"
        return device(
            name, model=model, memory_bytes=memory, compute_capability=capability, parent=parent, index=n
        )

    one = st.tuples(
        st.sampled_from(MODELS), st.sampled_from([5, 20, 40]), st.sampled_from([None, (8, 0), (9, 0)])
    )
    several = st.lists(one, min_size=1, max_size=8)
    return several.map(lambda found: [record(device=make(n, *one)) for n, one in enumerate(found)])


names = st.none() | st.frozensets(st.sampled_from(["A100", "H100", "GPU-0", "GPU-1", "MIG-2", *MODELS]))
profiles = st.none() | st.frozensets(st.sampled_from(["1g.5gb", "3g.20gb", ""]))
requests = st.builds(
    SpawnRequest,
    gpus=st.integers(1, 3),
    model=st.none() | st.sampled_from(MODELS),
    slice_bytes=st.none() | st.sampled_from([5, 20]),
    memory_bytes=st.none() | st.sampled_from([5, 20]),
    compute_capability=st.none() | st.just((8, 0)),
)
holders = st.sampled_from(
    [Holder("person", "ada"), Holder("group", "lab"), Holder("group", "default"), Holder("course", "ml")]
)


@given(devices(), requests, names, profiles, st.dictionaries(st.integers(0, 7), holders, max_size=3))
def test_each_device_by_itself(inventory, request, cards, slices, pinned) -> None:
    pins = [
        Pin(inventory[n].device.uuid, holder, "x", "root", ago(9))
        for n, holder in pinned.items()
        if n < len(inventory)
    ]
    drains = [Drain("GPU-9", "x", "root", ago(9))]
    board = Board(Situation(NOW, inventory, (), pins=pins, drains=drains))
    asking = ticket(request, owner="ada", party=Party(("lab",)), terms=Terms(cards=cards, slices=slices))
    want = board.want(asking)
    right = {
        r.device.uuid for r in inventory if suits(r.device, request) and may_use(r.device, cards, slices)
    }
    assert set(board.uuids(want.reach)) == right
    by_model = {model: set(board.uuids(mask)) for model, mask in want.models.items()}
    assert by_model == {
        model: {u for u in right if next(r for r in inventory if r.device.uuid == u).device.model == model}
        for model in {r.device.model for r in inventory if r.device.uuid in right}
    }
    others = {
        r.device.uuid
        for r in inventory
        if any(
            not pin.holder.has("ada", asking.party)
            for pin in [
                next((p for p in pins if p.device == r.device.uuid), None)
                or next((p for p in pins if p.device == r.device.parent), None)
            ]
            if pin
        )
    }
    assert set(board.uuids(want.open)) == right - others
    assert board.want(ticket(request, owner="ada", party=Party(("lab",)), terms=asking.terms)) is want
