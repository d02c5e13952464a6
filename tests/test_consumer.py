"""consumer.py: the simplest reader."""

from conftest import Lab, Run


def test_prints_each_message_as_it_comes(lab: Lab, run: Run):
    lab.declare()
    reader = run("consumer.py", "--queue", "q", lab=lab)
    reader.wait_for("Waiting for messages on 'q'. To exit press CTRL+C")
    lab.publish("aaa")
    reader.wait_for(" [x] Received 'aaa'")
    lab.publish("bb")
    reader.wait_for(" [x] Received 'bb'")
    reader.interrupt()
    assert reader.wait() == 0
    assert "Traceback" not in reader.text()
