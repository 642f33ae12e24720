"""A stage that joins the grid: one line of CSV a cell, from every cell's calibration."""
import csv
import json

with open("task.json", encoding="utf-8") as file:
    task = json.load(file)
lines = []
for cell in task["cells"]:
    with open(cell["inputs"]["calibration"] + "/metrics.json", encoding="utf-8") as file:
        lines.append({**cell["fields"], **json.load(file)})
names = list(dict.fromkeys(name for line in lines for name in line))
with open("calibration.csv", "w", encoding="utf-8", newline="") as file:
    writer = csv.DictWriter(file, names)
    writer.writeheader()
    writer.writerows(lines)
print(f"{len(lines)} cells")
