import runpy
from pathlib import Path

import pytest
import yaml

from egtr.config import egtr_argument_parser, load_config
from egtr.engine import setup
from egtr.structures import EGTRError


def test_file_then_options(tmp_path):
    (tmp_path / "base.yaml").write_text("VERSION: 2\nSOLVER: {BASE_LR: 0.5, MAX_ITER: 7}\n")
    (tmp_path / "run.yaml").write_text("_BASE_: base.yaml\nMODEL: {EGTR: {NUM_QUERIES: 9}}\n")
    cfg = load_config(str(tmp_path / "run.yaml"), ["SOLVER.MAX_ITER", "8", "DATASETS.TRAIN", "('a', 'b')"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.MODEL.EGTR.NUM_QUERIES) == (0.5, 8, 9)
    assert cfg.DATASETS.TRAIN == ("a", "b")


@pytest.mark.parametrize(
    "opts, message",
    [
        (
            ["MODEL.EGTR.NUM_QUERY", "3"],
            "Command line.*no key MODEL.EGTR.NUM_QUERY.*Did you mean MODEL.EGTR.NUM_QUERIES",
        ),
        (["SOLVER.NUM_QUERIES", "3"], "Did you mean MODEL.EGTR.NUM_QUERIES"),
        (["TEST.SCENE_GRAPH.PROTOCOL", "strict"], "Did you mean TEST.SCENE_GRAPH.PROTOCOLS"),
        (["SOLVER.BASE_LR.NOW", "3"], "no key SOLVER.BASE_LR.NOW.*Did you mean SOLVER.BASE_LR"),
        (["MODEL.EGTR.NUM_QUERIES", "many"], "MODEL.EGTR.NUM_QUERIES many: .*int.*str"),
        (["SOLVER.MAX_ITER"], "pairs, but there are 1 words: SOLVER.MAX_ITER"),
    ],
)
def test_bad_options(opts, message):
    with pytest.raises(EGTRError, match=message):
        load_config(opts=opts)


@pytest.mark.parametrize(
    "content, message",
    [
        ("SOLVER: {BASE_RL: 0.5}", "no key SOLVER.BASE_RL.*Did you mean SOLVER.BASE_LR"),
        ("SOLVER: {MAX_ITER: soon}", "MAX_ITER"),
        ("SOLVER: [", "not a YAML file.*line"),
        ("", "holds no keys"),
        ("_BASE_: nowhere.yaml", r"_BASE_ cannot be read.*nowhere\.yaml"),
    ],
)
def test_bad_file(tmp_path, content, message):
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(EGTRError, match=rf"run\.yaml.*{message}"):
        load_config(str(path))


def test_missing_file():
    with pytest.raises(EGTRError, match=r"nowhere\.yaml: there is no such configuration file"):
        load_config("nowhere.yaml")
    with pytest.raises(EGTRError, match=r"nowhere\.yaml: EGTR comes with no such file"):
        load_config("egtr://configs/nowhere.yaml")


def test_tuples_load_and_python_objects_do_not(tmp_path):
    run = tmp_path / "run.yaml"
    run.write_text('SOLVER: {STEPS: "(5, 7)"}\nDATASETS:\n  TRAIN: ("x",)\n')
    cfg = load_config(str(run))
    assert cfg.SOLVER.STEPS == (5, 7) and cfg.DATASETS.TRAIN == ("x",)

    trace = tmp_path / "was_here"
    attack = f'OUTPUT_DIR: !!python/object/apply:os.mkdir ["{trace}"]\n'
    # That it would work is what makes the rest of the test worth something.
    yaml.unsafe_load(attack)
    assert trace.exists()
    trace.rmdir()
    (tmp_path / "attack.yaml").write_text(attack)
    run.write_text("_BASE_: attack.yaml\n")
    for name in ("attack", "run"):
        with pytest.raises(EGTRError, match=rf"{name}\.yaml.*Python object.*can run code.*attack\.yaml.*plain"):
            load_config(str(tmp_path / f"{name}.yaml"))
    assert not trace.exists()


def test_file_of_another_version(tmp_path):
    (tmp_path / "old.yaml").write_text("VERSION: 1\n")
    with pytest.raises(EGTRError, match=r"old\.yaml: VERSION is 1"):
        load_config(str(tmp_path / "old.yaml"))


def test_configuration_from_a_server(tmp_path, serve):
    (tmp_path / "base.yaml").write_text("SOLVER: {MAX_ITER: 7}\n")
    (tmp_path / "run.yaml").write_text("_BASE_: base.yaml\nSOLVER: {BASE_LR: 0.5}\n")
    address = serve(tmp_path)
    cfg = load_config(f"{address}/run.yaml")
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER) == (0.5, 7)
    with pytest.raises(EGTRError, match=r"none\.yaml: cannot be fetched.*404"):
        load_config(f"{address}/none.yaml")


def test_train_net_ends_with_one_line(monkeypatch, capsys):
    tool = Path(__file__).parents[2] / "tools/train_net.py"
    monkeypatch.setattr("sys.argv", ["train_net.py", "--config-file", "nowhere.yaml"])
    with pytest.raises(SystemExit, match="1"):
        runpy.run_path(str(tool), run_name="__main__")
    message = capsys.readouterr().err
    assert message.startswith("egtr train: error: nowhere.yaml: is neither a file nor the name of a model.")
    assert message.count("\n") == 1


def test_setup_falls_back_to_the_cpu_and_saves_the_configuration(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = ["MODEL.DEVICE", "cuda", "OUTPUT_DIR", str(tmp_path), "SEED", "3"]
    cfg = setup(egtr_argument_parser().parse_args(options))
    assert cfg.MODEL.DEVICE == "cpu" and cfg.is_frozen()
    assert capsys.readouterr().out.count("CUDA is not available: MODEL.DEVICE is cpu instead of cuda") == 1
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["SEED"] == 3
    # The file can be read again.
    again = load_config(str(tmp_path / "config.yaml"))
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())
