"""The machine is described for the reader of a measurement, without naming its owner."""

from audio_denoising.machine import cpu_field, versions
from benchmarks.measuring import describe_machine


def test_the_machine_is_described_without_naming_its_owner():
    machine = describe_machine()
    assert machine["cores"] >= 1 and machine["cpu"] and machine["packages"]["torch"]
    assert not {"user", "host", "node"} & machine.keys()


def test_what_is_not_there_is_nothing():
    assert cpu_field("colour of the case") == ""
    assert versions(["no-such-package"]) == {"no-such-package": None}
