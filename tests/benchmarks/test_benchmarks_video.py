"""The video benchmark on made-up frames: all methods see the same noise, rows have the agreed form."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import figures, video
from benchmarks.__main__ import main
from benchmarks.other_tables import denoised as table
from benchmarks.results import FORMAT
from torch_gbp.denoise import Denoiser


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder = tmp_path / video.FOLDER
    folder.mkdir(parents=True)
    for index in range(2):
        shade = (torch.arange(64)[:, None, None] + torch.arange(96)[:, None] + 9 * index).expand(64, 96, 3).to(torch.uint8)
        Image.fromarray(shade.numpy()).save(folder / f"{index:05d}.jpg")
    return tmp_path


def test_every_method_gives_a_row_for_every_frame(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = clip / "out.json"
    arguments = ["graph_video", "--data-dir", str(clip), "--out", str(out), "--quick", "--seeds", "3"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    main()
    rows = json.loads(out.read_text())["rows"]
    assert [(row["method"], row["limit"]) for row in rows] == [(method, index) for method in video.METHODS for index in (0, 1)]
    assert all(row["seed"] == 3 and row["cpu_seconds"] > 0 and row["psnr_noisy"] > 0 for row in rows)
    assert len({row["psnr_noisy"] for row in rows if row["limit"] == 1}) == 1
    assert len({row["psnr"] for row in rows if row["limit"] == 1}) == len(video.METHODS)  # each with settings of its own
    assert all(row["psnr"] > row["psnr_noisy"] for row in rows if row["method"] == "pairwise")


def test_pictures_are_kept_and_drawn_with_the_psnr_of_the_first_seed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "SHOWN_FRAME", 1)
    monkeypatch.setattr(video, "MOVING", "pairwise")
    monkeypatch.setattr(figures, "ZOOM", (slice(5, 37), slice(10, 58)))
    results, arguments = clip / "results", ["--data-dir", str(clip), "--quick", "--seeds", "3", "--net", "pairwise"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "graph_video", "--out", str(results / "graph_video.json"), *arguments])
    main()
    rows = json.loads((results / "graph_video.json").read_text())["rows"]
    clean, noisy, denoised = (figures._picture(results / "graph_video", name, 1, True) for name in ("clean", "noisy", "pairwise"))
    assert clean is not None and noisy is not None and denoised is not None
    for found, key in ((denoised, "psnr"), (noisy, "psnr_noisy")):
        psnr = video.psnr(torch.tensor(found) / 255, torch.tensor(clean) / 255)
        assert psnr == pytest.approx(rows[1][key], abs=0.1)  # rounded to bytes
    assert figures._picture(results / "graph_video", "clean", 0, True) is None
    assert [path.name for path in figures.draw(results, clip)] == ["graph_video.png", "graph_video.gif"]
    figure = figures.frames(results)
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["clean", f"noisy, {rows[1]['psnr_noisy']:.2f} dB", f"pairwise smoother, {rows[1]['psnr']:.2f} dB"]
    with Image.open(clip / "graph_video.gif") as moving:
        assert (moving.n_frames, moving.size) == (2, (2 * 54 + figures.GAP, 26))  # type: ignore[attr-defined]


def test_a_tenth_of_the_pixels_is_replaced_alike_in_all_channels(clip: Path) -> None:
    clean = video.frame(clip, 0)
    assert clean.shape == (3, 258, 454) and 0 <= clean.min() < clean.max() <= 1
    noisy = video.corrupt(clean, 0, 0)
    hit = (noisy != clean).any(0)
    assert 0.09 < hit.double().mean() < 0.11
    assert (noisy != clean)[:, hit].double().mean() > 0.99
    assert torch.equal(noisy, video.corrupt(clean, 0, 0)) and not torch.equal(noisy, video.corrupt(clean, 1, 0))


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"00000\.jpg is missing"):
        video.frame(tmp_path, 0)


def test_the_start_with_the_lowest_energy_goes_on() -> None:
    own = video.Single(starts=4)
    image = torch.rand(3, 18, 22, generator=torch.Generator().manual_seed(1))

    def energy(seed: int) -> float:
        generator = video._started(model, seed)
        return model.infer(image, iterations=1, rate=own.rate, generator=generator).energy[-1]

    model = Denoiser(own.layer(), own.observation_deviation)
    energies = {seed: energy(seed) for seed in (3000, 3100, 3200, 3300)}
    best = min(energies, key=energies.__getitem__)
    assert best != 3000 and len(set(energies.values())) == 4
    generator = video._chosen(model, own, image, 3000, quick=True)
    assert generator.initial_seed() == best
    again = model.infer(image, iterations=1, rate=own.rate, generator=generator)
    assert again.energy[-1] == energies[best]


def test_the_whole_clip_is_drawn_for_the_methods_that_saw_it(tmp_path: Path) -> None:
    rows = [
        {"method": method, "net": f"frame {k}", "limit": k, "seed": seed, "psnr": 30.0 + k, "psnr_noisy": 18.0}
        for method, seed, frames in (("pairwise", 0, 6), ("five_continual", 0, 9), ("five_continual", 1, 6))
        for k in range(frames)
    ]
    path = tmp_path / "graph_video.json"
    for kept, expected in ((rows, True), ([row for row in rows if row["limit"] < 6], False)):
        path.write_text(json.dumps({"format": FORMAT, "benchmark": "graph_video", "settings": {}, "rows": kept}))
        figure = figures.whole_clip(tmp_path)
        assert (figure is not None) == expected
        if figure is not None:
            lines = [list(map(tuple, line.get_xydata())) for line in figure.axes[0].get_lines()]
            assert lines == [[(k, 30.0 + k) for k in range(9)]]
            assert [line.get_label() for line in figure.axes[0].get_lines()] == ["five layers, continual"]
            assert figure.axes[0].get_title(loc="left").endswith("18.0 dB")


def test_means_are_over_the_seeds_that_saw_all_frames() -> None:
    own = {"method": "pairwise", "cpu_seconds": 1.0}
    rows = [{**own, "limit": k, "seed": 0, "psnr": 30.0 + 10 * (k == 8)} for k in range(9)]
    rows += [{**own, "limit": k, "seed": 1, "psnr": 20.0} for k in range(6)]
    assert table(rows).splitlines()[2] == "| pairwise smoother | 25.00 ± 5.00 | 31.1 | 31.11 | 9 | 1.0 |"


def test_joint_methods_and_no_others_have_joint_observations(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Denoiser] = []
    monkeypatch.setattr(video, "Denoiser", lambda *settings: made.append(Denoiser(*settings)) or made[-1])
    for method in video.SETTINGS:
        video._make(method, 0, quick=True)
    joint = dict(zip(video.SETTINGS, (model.joint for model in made), strict=True))
    joint |= {method: smoother.joint for method, smoother in video.PAIRWISE.items()}
    assert joint == {method: method.endswith(video.JOINT) for method in video.METHODS}
