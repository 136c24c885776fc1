from videokd.cli.train import main
from videokd.config import load_config
from videokd.config.describe import resolve_config
from videokd.models.build import fill_model_inputs


def test_a_printed_config_is_the_one_that_is_used(write_config, tmp_path, capsys):
    words = ["EXPERTS.UCF.NUM_FRAMES", "-1", "DATA.NUM_FRAMES", "8", "SOLVER.BASE_LR", "0.01"]
    path = write_config()
    assert main(["--config-file", str(path), "--print-config", *words]) == 0
    text = capsys.readouterr().out
    assert "SEED: 0  # seed of " in text
    printed = tmp_path / "printed.yaml"
    printed.write_text(text)
    cfg = load_config(printed)
    assert cfg == resolve_config(fill_model_inputs(load_config(path, words)))
    assert cfg.EXPERTS.UCF.NUM_FRAMES == 16  # of r2plus1d_18
    assert cfg.STUDENTS.UCF.NUM_FRAMES == 8
    assert cfg.EXPERTS.UCF.MEAN == [0.43216, 0.394666, 0.37645]
    assert cfg.JOINT.BASE_LR == 0.01
