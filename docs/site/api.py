"""Pages of the interface: every public name on the page of the room that it stands in, none by hand."""

from __future__ import annotations

import importlib
import inspect
from importlib.util import find_spec
from types import ModuleType

PAGES = {  # page: title and rooms of the package, in the order of reading
    "layers": ("Layers", ("layers",)),
    "likelihoods": ("Likelihoods", ("likelihoods",)),
    "training": ("Training", ("trainer", "optim", "autograd")),
    "prediction": ("Prediction", ("predictive",)),
    "conversion": ("Conversion", ("convert", "functions")),
    "weights": ("Beliefs, weights and priors", ("gaussian", "weights", "bases")),
    "inference": ("Iterated inference and factor graphs", ("inference",)),
    "decide": ("Decisions", ("decide",)),
    "continual": ("Continual learning", ("continual",)),
    "evaluation": ("Evaluation and report", ("metrics", "evaluation", "reporting")),
    "sklearn": ("scikit-learn", ("sklearn",)),
    "denoise": ("Denoising", ("denoise",)),
    "local": ("Block-local learning", ("local",)),
    "lightning": ("Lightning", ("lightning_modules",)),
    "errors": ("Errors and warnings", ("errors",)),
}
INTERFACES = (  # what has public names, the package itself first; rooms that it does not hand on are asked themselves
    "torch_gbp",
    "torch_gbp.metrics",
    "torch_gbp.evaluation",
    "torch_gbp.reporting",
    "torch_gbp.sklearn",
    "torch_gbp.denoise",
    "torch_gbp.local",
    "torch_gbp.errors",
    "lightning_modules",
)


def public(module: ModuleType) -> list[str]:
    """The public names of a module: those it lists, or else what it defines."""
    listed = getattr(module, "__all__", None)
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return sorted(listed or (name for name in own if not name.startswith("_")), key=str.lower)


def room(value: object) -> str:
    """The room of the package that a class or function is written in."""
    package, *rooms = str(getattr(value, "__module__", "")).split(".")
    return rooms[0] if package == "torch_gbp" and rooms else package


def names() -> dict[str, object]:
    """Every public name by its full path, each object once."""
    found: dict[int, tuple[str, object]] = {}
    for place in filter(find_spec, INTERFACES):
        module = importlib.import_module(place)
        for name in public(module):
            value = getattr(module, name)
            if inspect.isclass(value) or callable(value):
                found.setdefault(id(value), (path(place, name, value), value))
    return dict(found.values())


def path(place: str, name: str, value: object) -> str:
    """Where a name is looked up; in the file that defines it where a file of that name hides it."""
    hidden = find_spec(f"{place}.{name}") is not None
    return f"{getattr(value, '__module__', place)}.{name}" if hidden else f"{place}.{name}"


def pages() -> dict[str, str]:
    """The pages by their file names; a room without a page is an error."""
    page_of = {room: page for page, (_, rooms) in PAGES.items() for room in rooms}
    entries: dict[str, list[str]] = {page: [] for page in PAGES}
    for path, value in names().items():
        entries[page_of[room(value)]].append(path)
    return {f"api/{page}.md": written(PAGES[page][0], paths) for page, paths in entries.items() if paths}


def written(title: str, paths: list[str]) -> str:
    """A page: a list of its names, then each of them with signature and docstring."""
    contents = ", ".join(f"[`{path.rpartition('.')[2]}`][{path}]" for path in paths)
    return "\n\n".join([f"# {title}", contents, *(f"::: {path}" for path in paths)]) + "\n"
