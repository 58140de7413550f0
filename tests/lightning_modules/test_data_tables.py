"""Regression tables from tiny files: columns, splits, standardisation, errors."""

import pytest
import torch

from lightning_modules.data import CSV, UCI
from lightning_modules.data.tables import Scaler, load_csv, load_uci
from torch_gbp.errors import InvalidInput


@pytest.fixture
def uci(tmp_path):
    """Six rows of two features, an unused column and a target; split 0 holds out rows 1 and 4."""
    folder = tmp_path / "UCI" / "toy"
    folder.mkdir(parents=True)
    (folder / "data.txt").write_text("".join(f"{i} {100 + 3 * i} 7 {10 * i * i}\n" for i in range(6)))
    for name, values in {"features": "0\n1\n", "target": "3\n", "train_0": "0 2 3 5\n", "test_0": "1.0\n4.0\n"}.items():
        (folder / f"index_{name}.txt").write_text(values)
    return tmp_path


def test_uci_layout(uci):
    table = load_uci(uci, "toy")
    assert table.x[4].tolist() == [4.0, 112.0]
    assert table.y[:, 0].tolist() == [0.0, 10.0, 40.0, 90.0, 160.0, 250.0]
    assert (table.train.tolist(), table.test.tolist()) == ([0, 2, 3, 5], [1, 4])


def test_unknown_uci_set_lists_those_found(uci):
    with pytest.raises(InvalidInput, match=r"sets found: \['toy'\]"):
        load_uci(uci, "boat")
    with pytest.raises(InvalidInput, match=r"index_train_9\.txt"):
        load_uci(uci, "toy", split=9)


def test_uci_module_standardises_by_the_training_rows(uci):
    data = UCI("toy", str(uci), validation=0.0)
    data.setup()
    x, y = data.parts.train.tensors
    torch.testing.assert_close(x.mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2))
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(1))
    test_y = data.parts.test.tensors[1] * data.target_std + data.target_mean
    torch.testing.assert_close(test_y[:, 0], torch.tensor([10.0, 160.0]))


def test_validation_rows_do_not_enter_the_standardisation(uci):
    data = UCI("toy", str(uci), validation=0.5)
    data.setup()
    assert len(data.parts.train.tensors[0]) == len(data.parts.validation.tensors[0]) == 2
    for part in data.parts.train.tensors:
        torch.testing.assert_close(part.mean(0), torch.zeros(part.shape[1]), atol=1e-6, rtol=0)
        torch.testing.assert_close(part.std(0, correction=0), torch.ones(part.shape[1]))


def test_csv_takes_the_named_column(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a, price ,b\n1,10,5\n2,20,5\n3,30,5\n4,40,5\n")
    table = load_csv(path, "price", test=0.25)
    torch.testing.assert_close(table.y, 10 * table.x[:, :1])
    assert sorted([*table.train.tolist(), *table.test.tolist()]) == [0, 1, 2, 3] and len(table.test) == 1
    data = CSV(str(path), "price", test=0.25, validation=0.0)
    data.setup()
    constant = data.parts.train.tensors[0][:, 1]
    torch.testing.assert_close(constant, torch.zeros(3))  # a column without spread is centred, not divided by 0


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        ("a,b\n1,2\n", "c", r"no such column.*use \['a', 'b'\]"),
        ("a,b\n1,red\n", "a", r"every cell.*must be a finite number \(in .*table.csv, row 1, column 'b'\)\. Got: 'red'"),
        ("a,b\n1,2\nnan,4\n", "a", r"row 2, column 'a'\)\. Got: 'nan'"),
        ("a,b\n1,-inf\n3,4\n", "a", r"row 1, column 'b'\)\. Got: '-inf'"),
        ("a,b\n1,2\n3,4\n5,1e400\n", "a", r"row 3, column 'b'\)\. Got: '1e400'"),
        ("a,b\n1,\n", "a", r"row 1, column 'b'\)\. Got: ''"),
        ("a,b\n1,2\n3\n", "a", r"every row must have a cell for each column \(in .*row 2\)\. Got: 1 cells, 2 columns"),
        ("", "a", r"at least one row of numbers are needed.*Got: 0 lines"),
        ("a,b\n", "a", r"at least one row of numbers are needed.*Got: 1 lines"),
    ],
)
def test_csv_errors(tmp_path, content, target, message):
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        load_csv(path, target)


def test_csv_of_classes(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,kind,b\n" + "".join(f"{k},{10 if k % 2 else 9},{k * k}\n" for k in range(12)))
    data = CSV(str(path), "kind", test=0.25, validation=0.0, task="classification")
    assert (data.shape, data.outputs, data.table.classes) == ((2,), 2, ("9", "10"))  # in the order of the numbers
    x, y = data.parts.test.tensors
    a = (x.double() * data.preparation.std + data.preparation.mean)[:, 0].round().long()
    assert y.dtype == torch.long and torch.equal(y, a % 2) and data.preparation.columns == ("a", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,kind\n1,x\n2,\n3,y\n", r"the cell is empty, and a class is needed \(in .*table\.csv, row 2, column 'kind'\)"),
        ("a,kind\n1,x\n2,x\n", r"needs two classes.*Got: 1 classes in 2 rows"),
        ("a,kind\n1,1.5\n2,1.7\n3,1.9\n", r"Got: 3 classes in 3 rows.*task=regression"),
        ("a,kind\nred,x\n2,x\n3,y\n", r"row 1, column 'a'\)\. Got: 'red'"),
        ("a,a,kind\n1,2,x\n2,3,x\n3,4,y\n", r"names of their own.*\['a'\] twice"),
    ],
)
def test_errors_of_classes(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=message):  # from the constructor, which reads the file
        CSV(str(path), "kind", task="classification")


def test_the_constructor_reads_and_knows(tmp_path, uci):
    with pytest.raises(InvalidInput, match=r"missing.*nothing\.csv"):
        CSV(str(tmp_path / "nothing.csv"), "a")
    with pytest.raises(InvalidInput, match=r"sets found: \['toy'\]"):
        UCI("boat", str(uci))
    (tmp_path / "table.csv").write_text("a,kind\n1,x\n2,y\n3,y\n")
    with pytest.raises(InvalidInput, match=r"Got: 'x'.*task=classification"):
        CSV(str(tmp_path / "table.csv"), "kind")
    with pytest.raises(InvalidInput, match=r"unknown task.*'ranking'"):
        CSV(str(tmp_path / "table.csv"), "kind", task="ranking")


def test_csv_missing_file(tmp_path):
    with pytest.raises(InvalidInput, match=r"missing.*nothing\.csv"):
        load_csv(tmp_path / "nothing.csv", "a")


def test_scaler_inverts():
    values = torch.tensor([[1.0, 4.0], [3.0, 4.0], [8.0, 4.0]])
    scaler = Scaler.fit(values)
    torch.testing.assert_close(scaler(values) * scaler.std + scaler.mean, values)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("2", "1.0", "1", "2.0"), ("1", "1.0", "2", "2.0")),
        (("1", "NaN", "0"), ("0", "1", "NaN")),
        (("10", "9", "1"), ("1", "9", "10")),
        (("b", "10", "9"), ("10", "9", "b")),
    ],
)
def test_classes_have_one_order_however_their_names_are_hashed(tmp_path, names, wanted):
    (tmp_path / "k.csv").write_text("u,k\n" + "".join(f"{i},{names[i % len(names)]}\n" for i in range(24)))
    table = load_csv(tmp_path / "k.csv", "k", test=0.25, task="classification")
    assert table.classes == wanted
    assert [table.classes[number] for number in table.y] == [names[i % len(names)] for i in range(24)]
