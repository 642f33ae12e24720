/**
 * The chapters of the page, in order. To add one, write a `Chapter` in a new file and add an entry
 * here.
 */
import { asked } from './asked.tsx';
import type { Chapter } from './chapter.ts';
import { corrections } from './corrections.tsx';
import { examples } from './examples.tsx';
import { found } from './found.tsx';
import { premise } from './premise.tsx';
import { provenance } from './provenance.tsx';
import { results } from './results.tsx';
import { stages } from './stages.tsx';
import { theory } from './theory.tsx';

export const CHAPTERS: readonly Chapter[] = [
  found,
  asked,
  results,
  theory,
  premise,
  corrections,
  examples,
  stages,
  provenance,
];
