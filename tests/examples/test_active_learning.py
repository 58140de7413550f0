"""The example of active learning, for two rounds."""

from __future__ import annotations

from examples import active_learning


def test_ways_label_chosen_images_and_are_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(active_learning, "ROUND", 4)
    ways = ["random", "margin", "batchbald"]
    found = active_learning.run(tmp_path, ways, rounds=2, seeds=1, epochs=3)
    assert all(values.shape == (1, 2) and 0.1 < values.min() <= values.max() <= 1 for values in found.values())
    assert len({float(values[0, 0]) for values in found.values()}) == 1  # the first labels are the same
    assert len({float(values[0, 1]) for values in found.values()}) == 3  # the next are not
    assert capsys.readouterr().out.count("accuracy (%)") == len(ways)
    assert (tmp_path / "labels.png").stat().st_size > 10_000
