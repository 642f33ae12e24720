"""Parquet files as the hub's data sets have them, for test/plugins/datasets/parquet.test.ts. Needs
pyarrow.

python test/golden/parquet.py
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

here = Path(__file__).parent / "parquet"
here.mkdir(exist_ok=True)
table = pa.table(
    {
        "idx": pa.array(range(5), pa.int32()),
        "sentence": [
            "hide new secretions",
            "contains no wit",
            "caf\u00e9 \u65e5\u672c",
            "",
            "two\nlines",
        ],
        "label": pa.array([0, 0, 1, 1, 0], pa.int64()),
    }
)
for compression in ("snappy", "gzip", "zstd"):
    pq.write_table(
        table, here / f"{compression}.parquet", compression=compression, row_group_size=2
    )
