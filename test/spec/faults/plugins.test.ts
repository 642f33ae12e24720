/** Names that no plugin has. */
import { minimal } from '../rig.ts';
import { testFaults } from './check.ts';

testFaults('faults: plugins', [
  {
    fault: 'an unknown attack',
    spec: `${minimal}poisoning: { attack: badnet }
`,
    shows: `error[unknown-plugin]: there is no attack "badnet"
 --> DIR/spec.yaml:4:22
  |
4 | poisoning: { attack: badnet }
  |                      ^^^^^^
  = did you mean "badnets"?`,
  },
  {
    fault: 'an attack that resembles no other',
    spec: `${minimal}poisoning: { attack: ransomware }
`,
    shows: `error[unknown-plugin]: there is no attack "ransomware"
 --> DIR/spec.yaml:4:22
  |
4 | poisoning: { attack: ransomware }
  |                      ^^^^^^^^^^
  = the attacks are none, label-flip and badnets`,
  },
  {
    fault: 'an unknown attack on an axis',
    spec: `${minimal}poisoning: { attack: [none, labelflip] }
`,
    shows: `error[unknown-plugin]: there is no attack "labelflip"
 --> DIR/spec.yaml:4:29
  |
4 | poisoning: { attack: [none, labelflip] }
  |                             ^^^^^^^^^
  = did you mean "label-flip"?`,
  },
  {
    fault: 'an unknown adapter',
    spec: `${minimal}adapter: { type: loar }
`,
    shows: `error[unknown-plugin]: there is no adapter "loar"
 --> DIR/spec.yaml:4:18
  |
4 | adapter: { type: loar }
  |                  ^^^^
  = did you mean "lora"?`,
  },
  {
    fault: 'an unknown stage',
    spec: `${minimal}stages: [train, eval]
`,
    shows: `error[unknown-plugin]: there is no stage "eval"
 --> DIR/spec.yaml:4:17
  |
4 | stages: [train, eval]
  |                 ^^^^
  = did you mean "evaluate"?`,
  },
  {
    fault: 'an unknown architecture',
    spec: `name: x
model: { source: "pypi:model", architecture: brt }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
`,
    shows: `error[unknown-plugin]: there is no model architecture "brt"
 --> DIR/spec.yaml:2:46
  |
2 | model: { source: "pypi:model", architecture: brt }
  |                                              ^^^
  = did you mean "bert"?`,
  },
  {
    fault: 'an unknown data format',
    spec: `name: x
model: { source: "pypi:model" }
data: { train: { source: "npm:rows", format: tvs }, validation: { source: "npm:rows" } }
`,
    shows: `error[unknown-plugin]: there is no data format "tvs"
 --> DIR/spec.yaml:3:46
  |
3 | data: { train: { source: "npm:rows", format: tvs }, validation: { source: "npm:rows" } }
  |                                              ^^^
  = did you mean "tsv"?`,
  },
  {
    fault: 'an unknown source',
    spec: `name: x
model: { source: "pipy:model" }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
`,
    shows: `error[unknown-plugin]: there is no source "pipy"
 --> DIR/spec.yaml:2:18
  |
2 | model: { source: "pipy:model" }
  |                  ^^^^^^^^^^^^
  = did you mean "pypi"?`,
  },
  {
    fault: 'a source without its scheme',
    spec: `name: x
model: { source: checkpoint }
data: { train: { source: "npm:rows" }, validation: { source: "npm:rows" } }
`,
    shows: `error[wrong-form]: "model.source" must say where it comes from, as file:…, npm:…, pypi:… or hf:…, not "checkpoint"
 --> DIR/spec.yaml:2:18
  |
2 | model: { source: checkpoint }
  |                  ^^^^^^^^^^
  = a file or folder here is written "file:checkpoint"`,
  },
]).run();
