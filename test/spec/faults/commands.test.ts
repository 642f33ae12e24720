/** Faults in `commands`. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: commands', [
  {
    fault: 'a misspelt input',
    spec: `${minimal}commands: { score: { run: [python3, score.py], inputs: [evalute] } }
`,
    shows: `error[unknown-plugin]: there is no stage "evalute" to read
 --> DIR/spec.yaml:4:57
  |
4 | commands: { score: { run: [python3, score.py], inputs: [evalute] } }
  |                                                         ^^^^^^^
  = did you mean "evaluate"?`,
  },
  {
    fault: 'an input that resembles no stage',
    spec: `${minimal}commands: { score: { run: [a], inputs: [zzzzzz] } }
`,
    shows: `error[unknown-plugin]: there is no stage "zzzzzz" to read
 --> DIR/spec.yaml:4:41
  |
4 | commands: { score: { run: [a], inputs: [zzzzzz] } }
  |                                         ^^^^^^
  = the stages are data, poison, train, evaluate, ntk, fisher, report and score`,
  },
  {
    fault: 'an input of which a cell has two',
    spec: `${minimal}commands: { score: { run: [a], inputs: [data] } }
`,
    shows: `error[unknown-value]: a cell has more than one "data"
 --> DIR/spec.yaml:4:41
  |
4 | commands: { score: { run: [a], inputs: [data] } }
  |                                         ^^^^
  = write "data(train)" or "data(validation)"`,
  },
  {
    fault: 'an unknown part of a stage',
    spec: `${minimal}commands: { score: { run: [a], inputs: ["data(test)"] } }
`,
    shows: `error[unknown-value]: there is no "data(test)" to read
 --> DIR/spec.yaml:4:41
  |
4 | commands: { score: { run: [a], inputs: ["data(test)"] } }
  |                                         ^^^^^^^^^^^^
  = write "data(train)" or "data(validation)"`,
  },
  {
    fault: 'a part of a stage that has no parts',
    spec: `${minimal}commands: { score: { run: [a], inputs: ["train(final)"] } }
`,
    shows: `error[unknown-value]: "train" has no parts, so there is no "train(final)"
 --> DIR/spec.yaml:4:41
  |
4 | commands: { score: { run: [a], inputs: ["train(final)"] } }
  |                                         ^^^^^^^^^^^^^^
  = write "train"`,
  },
  {
    fault: 'commands in a circle',
    spec: `${minimal}commands:
  a: { run: [x], inputs: [b] }
  b: { run: [x], inputs: [c] }
  c: { run: [x], inputs: [a] }
`,
    shows: `error[cycle]: commands read each other in a circle: a → b → c → a
 --> DIR/spec.yaml:7:27
  |
7 |   c: { run: [x], inputs: [a] }
  |                           ^`,
  },
  {
    fault: 'a command that reads itself',
    spec: `${minimal}commands: { a: { run: [x], inputs: [a] } }
`,
    shows: `error[cycle]: the command "a" reads itself
 --> DIR/spec.yaml:4:37
  |
4 | commands: { a: { run: [x], inputs: [a] } }
  |                                     ^`,
  },
  {
    fault: 'the name of a built-in stage',
    spec: `${minimal}commands: { train: { run: [x] } }
`,
    shows: `error[taken-name]: "train" is the name of a stage that is built in or that a plugin brings
 --> DIR/spec.yaml:4:13
  |
4 | commands: { train: { run: [x] } }
  |             ^^^^^
  = give the command another name`,
  },
  {
    fault: 'a name in the wrong form',
    spec: `${minimal}commands: { My_Score: { run: [x] } }
`,
    shows: `error[wrong-form]: a command can't be called "My_Score"
 --> DIR/spec.yaml:4:13
  |
4 | commands: { My_Score: { run: [x] } }
  |             ^^^^^^^^
  = use lower-case letters, digits and hyphens`,
  },
  {
    fault: 'a script that is not there',
    spec: `${minimal}commands: { score: { run: [x], files: ["file:scoer.py"] } }
`,
    files: { 'score.py': '', 'b/score.py': '', 'task.json': '' },
    shows: `error[missing-file]: there is no file DIR/scoer.py
 --> DIR/spec.yaml:4:40
  |
4 | commands: { score: { run: [x], files: ["file:scoer.py"] } }
  |                                        ^^^^^^^^^^^^^^^
  = did you mean "file:score.py"?`,
  },
  {
    fault: 'two files of one name',
    spec: `${minimal}commands: { score: { run: [x], files: ["file:score.py", "file:b/score.py"] } }
`,
    files: { 'score.py': '', 'b/score.py': '', 'task.json': '' },
    shows: `error[duplicate-value]: two files of "score" are called score.py
 --> DIR/spec.yaml:4:57
  |
4 | commands: { score: { run: [x], files: ["file:score.py", "file:b/score.py"] } }
  |                                                         ^^^^^^^^^^^^^^^^^
  = they lie in one folder when it runs: rename one`,
  },
  {
    fault: 'a file whose name is taken',
    spec: `${minimal}commands: { score: { run: [x], files: ["file:task.json"] } }
`,
    files: { 'score.py': '', 'b/score.py': '', 'task.json': '' },
    shows: `error[taken-name]: a file of "score" is called task.json, a name that is taken in the program's folder
 --> DIR/spec.yaml:4:40
  |
4 | commands: { score: { run: [x], files: ["file:task.json"] } }
  |                                        ^^^^^^^^^^^^^^^^
  = rename the file`,
  },
  {
    fault: 'outputs outside the folder, taken, and within each other',
    spec: `${minimal}commands: { score: { run: [x], files: ["file:score.py"], outputs: [../a, score.py, out, out/b, inputs/x] } }
`,
    files: { 'score.py': '', 'b/score.py': '', 'task.json': '' },
    shows: `error[wrong-form]: an output must be a path below the program's folder, not "../a"
 --> DIR/spec.yaml:4:68
  |
4 | commands: { score: { run: [x], files: ["file:score.py"], outputs: [../a, score.py, out, out/b, inputs/x] } }
  |                                                                    ^^^^
  = such as metrics.json or figures/roc.svg

error[taken-name]: the output score.py of "score" has a name that is taken in the program's folder
 --> DIR/spec.yaml:4:74
  |
4 | commands: { score: { run: [x], files: ["file:score.py"], outputs: [../a, score.py, out, out/b, inputs/x] } }
  |                                                                          ^^^^^^^^
  = write it under another name

error[duplicate-value]: the output out/b of "score" overlaps with another output
 --> DIR/spec.yaml:4:89
  |
4 | commands: { score: { run: [x], files: ["file:score.py"], outputs: [../a, score.py, out, out/b, inputs/x] } }
  |                                                                                         ^^^^^
  = list the folder alone

error[taken-name]: the output inputs/x of "score" has a name that is taken in the program's folder
 --> DIR/spec.yaml:4:96
  |
4 | commands: { score: { run: [x], files: ["file:score.py"], outputs: [../a, score.py, out, out/b, inputs/x] } }
  |                                                                                                ^^^^^^^^
  = write it under another name`,
  },
  {
    fault: 'fields that are unknown or hold paths',
    spec: `${minimal}commands: { score: { run: [x], fields: [rank, model.source] } }
`,
    shows: `error[unknown-key]: there is no field "rank" to pass to a program
 --> DIR/spec.yaml:4:41
  |
4 | commands: { score: { run: [x], fields: [rank, model.source] } }
  |                                         ^^^^
  = did you mean "adapter.rank"?

error[unknown-key]: there is no field "model.source" to pass to a program
 --> DIR/spec.yaml:4:47
  |
4 | commands: { score: { run: [x], fields: [rank, model.source] } }
  |                                               ^^^^^^^^^^^^
  = fields are named in full, such as "seed", "adapter.rank" or "poisoning.attack"; a file or folder is passed with \`files\``,
  },
  {
    fault: 'a stage of the whole grid read by a command of a cell',
    spec: `${minimal}commands: { score: { run: [x], inputs: [report] } }
`,
    shows: `error[wrong-scope]: "report" joins the whole grid; a command that runs once per cell can't read it
 --> DIR/spec.yaml:4:41
  |
4 | commands: { score: { run: [x], inputs: [report] } }
  |                                         ^^^^^^
  = give "score" \`scope: experiment\``,
  },
  {
    fault: 'a command without its program',
    spec: `${minimal}commands: { score: { inputs: [train] } }
`,
    shows: `error[missing-key]: "commands.score.run" is missing
 --> DIR/spec.yaml:4:13
  |
4 | commands: { score: { inputs: [train] } }
  |             ^^^^^
  = The program and its arguments; no shell reads them`,
  },
  {
    fault: 'an unknown key',
    spec: `${minimal}commands: { score: { run: [x], input: [train] } }
`,
    shows: `error[unknown-key]: unknown key "input" in "commands.score"
 --> DIR/spec.yaml:4:32
  |
4 | commands: { score: { run: [x], input: [train] } }
  |                                ^^^^^
  = did you mean "inputs"?`,
  },
  {
    fault: 'values out of range',
    spec: `${minimal}commands: { score: { run: [x], cpu: 0, scope: grid } }
`,
    shows: `error[out-of-range]: "commands.score.cpu" must be a whole number of at least 1, not 0
 --> DIR/spec.yaml:4:37
  |
4 | commands: { score: { run: [x], cpu: 0, scope: grid } }
  |                                     ^

error[unknown-value]: "commands.score.scope" must be "cell" or "experiment", not "grid"
 --> DIR/spec.yaml:4:47
  |
4 | commands: { score: { run: [x], cpu: 0, scope: grid } }
  |                                               ^^^^`,
  },
  {
    fault: 'a misspelt command among the goals',
    spec: `${minimal}commands: { score: { run: [x] } }
stages: [scor]
`,
    shows: `error[unknown-plugin]: there is no stage "scor"
 --> DIR/spec.yaml:5:10
  |
5 | stages: [scor]
  |          ^^^^
  = did you mean "score"?`,
  },
  {
    fault: 'command lines written as for a shell',
    spec: `${minimal}commands:
  score: { run: python3 score.py --bins=10 }
  table: { run: "python3 table.py > out" }
stages: [score, table]
`,
    shows: `error[wrong-type]: "commands.score.run" must be a list of texts, not "python3 score.py --bins=10"
 --> DIR/spec.yaml:5:17
  |
5 |   score: { run: python3 score.py --bins=10 }
  |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^
  = as a list of arguments: [python3, score.py, --bins=10]

error[wrong-type]: "commands.table.run" must be a list of texts, not "python3 table.py > out"
 --> DIR/spec.yaml:6:17
  |
6 |   table: { run: "python3 table.py > out" }
  |                 ^^^^^^^^^^^^^^^^^^^^^^^^
  = as a list of arguments, such as [python3, score.py]; no shell reads them`,
  },
  {
    fault: 'an environment of null',
    spec: `${minimal}commands: { score: { run: [x], env: } }
`,
    shows: `error[wrong-type]: "commands.score.env" must be a mapping, not nothing
 --> DIR/spec.yaml:4:37
  |
4 | commands: { score: { run: [x], env: } }
  |                                     ^
  = leave the field out for its default`,
  },
  {
    fault: 'commands as a list',
    spec: `${minimal}commands: [score]
`,
    shows: `error[wrong-type]: "commands" must be a mapping, not a list
 --> DIR/spec.yaml:4:11
  |
4 | commands: [score]
  |           ^^^^^^^`,
  },
]).run();
