/** Every reader and parser of data from outside, as a function of bytes, with valid inputs. */
import type { Reader } from '../reader.ts';
import { DOWNLOADS } from './downloads.ts';
import { MODELS } from './models.ts';
import { RECORDS } from './records.ts';
import { REMOTES } from './remotes.ts';
import { ROWS } from './rows.ts';
import { SPECS } from './specs.ts';
import { TOKENIZERS } from './tokenizers.ts';

export const READERS: readonly Reader[] = [
  ...SPECS,
  ...ROWS,
  ...TOKENIZERS,
  ...MODELS,
  ...DOWNLOADS,
  ...RECORDS,
  ...REMOTES,
];
