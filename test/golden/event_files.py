"""Makes test/golden/tensorboard.tfevents: three scalars as TensorBoard's own writer writes them.

python test/golden/event_files.py              (tensorboard)
python test/golden/event_files.py FILE         reads a file of ours with TensorBoard's own reader,
                                               and prints it as JSON
"""

import json
import os
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

if len(sys.argv) == 2:
    events = EventAccumulator(sys.argv[1])
    events.Reload()
    print(
        json.dumps(
            {
                tag: [[event.step, event.value, event.wall_time] for event in events.Scalars(tag)]
                for tag in events.Tags()['scalars']
            }
        )
    )
    sys.exit()

SCALARS = [
    ('train/loss', 1, 0.6931471824645996, 1700000000.25),
    ('evaluate/accuracy', 0, 0.5, 1700000000.25),
    ('train/loss', 300, 1.5e-7, 1700000300.125),
]
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tensorboard.tfevents')
with open(path, 'wb') as file:
    writer = RecordWriter(file)
    writer.write(Event(wall_time=1700000000.0, file_version='brain.Event:2').SerializeToString())
    for tag, step, value, time in SCALARS:
        writer.write(
            Event(
                wall_time=time,
                step=step,
                summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]),
            ).SerializeToString()
        )
