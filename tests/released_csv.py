"""CSV texts of the released form: single rows to vary, and whole files of every kind that hypothesis can make."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sparcade.workload.released import COLUMNS

HEADER = ",".join(COLUMNS)
ROW: dict[str, Any] = dict.fromkeys(COLUMNS, -1) | {
    "iteration_id": 0,
    "layer_id": 0,
    "head_id": 0,
    "embedding_length_D": "64.0",
    "sentence_length_L": 40,
    "key_fetch_num": 30,
    "quant_key_bit": 8,
    "quant_query_bit": 16,
    "auto_requant_thres": 0.05,
    "if_requant": False,
    "auto_requant_incre": 4,
    "value_fetch_num": 9,
    "quant_value_bit": 8,
    "if_accumulate_importance": True,
    "if_rescale_previous_importance": False,
    "if_topk": False,
}


def line(**changes: Any) -> str:
    """A row with some cells changed."""
    return ",".join(str(value) for value in {**ROW, **changes}.values())


def text(*lines: str, header: str = HEADER) -> str:
    """A file of lines below a header."""
    return "\n".join([header, *lines, ""])


def two_layers(**changes: Any) -> list[str]:
    """Two iterations of two layers of two heads; the changes go to line 6: iteration 1, layer 0, head 0."""
    places = [(step, layer, head) for step in range(2) for layer in range(2) for head in range(2)]
    rows = []
    for step, layer, head in places:
        row: dict[str, Any] = {"iteration_id": step, "layer_id": layer, "head_id": head, "sentence_length_L": 40 + step}
        row["key_fetch_num"] = 30 - 10 * layer
        if (layer, head) == (0, 1):
            row |= {"if_topk": True, "topk": 20}
        rows.append(line(**row | (changes if (step, layer, head) == (1, 0, 0) else {})))
    return rows


COMMENTS = st.one_of(
    st.just(""),
    st.text(st.characters(exclude_characters="\n\r,", exclude_categories=("Cs",)), max_size=12).map(
        lambda words: f"# {words}, and more"
    ),
    st.sampled_from(["configs/gpt2/a.yml" + "," * 16, ",,,", "übung", "#"]),
)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The rows of a valid file, as cells in the order of `COLUMNS`."""
    found: list[dict[str, Any]] = []
    context, dim = draw(st.integers(1, 20)), draw(st.sampled_from(["64.0", "64", "8.00", "128.0"]))
    for step in sorted(draw(st.sets(st.integers(0, 9), min_size=1, max_size=3))):
        context += draw(st.integers(0, 3))
        for layer in sorted(draw(st.sets(st.integers(0, 3), min_size=1, max_size=3))):
            heads = draw(st.integers(1, 3))
            for head in range(heads):
                n = draw(st.integers(1, context))
                bits, increment = draw(st.sampled_from([-1, 4, 6, 8, 10, 12])), draw(st.sampled_from([-1, 4]))
                found.append(
                    {
                        "iteration_id": step,
                        "layer_id": layer,
                        "head_id": head,
                        "embedding_length_D": dim,
                        "sentence_length_L": draw(st.sampled_from([f"{context}", f"{context}.0"])),
                        "key_fetch_num": n,
                        "quant_key_bit": bits,
                        "quant_query_bit": draw(st.sampled_from([-1, 12, 16])),
                        "auto_requant_thres": draw(st.sampled_from(["-1", "0.05", "0.1", "0.10", "1", "5e-2", "-1.0"])),
                        "if_requant": bits in (4, 6, 8) and increment == 4 and draw(st.booleans()),
                        "auto_requant_incre": increment,
                        "value_fetch_num": draw(st.integers(1, n)),
                        "quant_value_bit": draw(st.sampled_from([-1, 4, 6, 8, 10, 12])),
                        "if_accumulate_importance": draw(st.booleans()),
                        "if_rescale_previous_importance": draw(st.booleans()),
                        "if_topk": head == heads - 1 and draw(st.booleans()),
                        "topk": -1,
                    }
                )
    for index, row in enumerate(found):
        if row["if_topk"]:
            ends = index + 1 == len(found) or found[index + 1]["iteration_id"] != row["iteration_id"]
            most = int(float(row["sentence_length_L"])) if ends else row["key_fetch_num"]
            row["topk"] = draw(st.integers(1, most))
    return found


@st.composite
def files(draw: st.DrawFn) -> str:
    """A valid file: comments anywhere below the header, line ends, spaces, columns in any order, a byte-order mark."""
    names = draw(st.one_of(st.just(list(COLUMNS)), st.permutations(list(COLUMNS))))
    space, end = draw(st.sampled_from(["", "", " "])), draw(st.sampled_from(["\n", "\r\n"]))
    lines = [draw(st.sampled_from(["", "", "\ufeff"])) + ",".join(names)]
    for row in draw(rows()):
        lines += draw(st.lists(COMMENTS, max_size=1))
        lines.append((space + ",").join(str(row[name]) for name in names))
    lines += draw(st.lists(COMMENTS, max_size=2))
    return end.join(lines) + draw(st.sampled_from(["", end, end, "\n"]))
