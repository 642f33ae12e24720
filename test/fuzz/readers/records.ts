/** Records of stores and runs. */
import { logLine } from '../../../src/run/log/events.ts';
import { readJournal } from '../../../src/run/log/run-folder.ts';
import { parseManifest } from '../../../src/store/manifest.ts';
import { seal, unseal } from '../../../src/store/sealed.ts';
import { asText, file, type Reader, texts } from '../reader.ts';

export const RECORDS: readonly Reader[] = [
  {
    name: 'sealed record',
    seeds: texts(seal({ spec: 'a.yaml', keys: ['x'] })),
    read: (input) => unseal(asText(input)),
  },
  {
    name: 'manifest',
    seeds: texts('{\n  "format": 1,\n  "key": "k",\n  "checksum": "x"\n}\n'),
    read: (input) => parseManifest(asText(input), 'k' as Parameters<typeof parseManifest>[1]),
  },
  {
    name: 'journal',
    seeds: texts(
      `${seal({ event: 'started', stages: 2, cached: 0 }, 8)}\n` +
        `${seal({ event: 'ended', seconds: 1 }, 8)}\n`,
    ),
    read: (input, dir) => {
      file(dir, 'journal.jsonl', input);
      for (const event of readJournal(dir).events) logLine(event);
    },
  },
];
