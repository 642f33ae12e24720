/** A chapter of the page. */
import type { Analysis } from '../analysis.ts';
import type { DrawnFigures } from '../figures/index.ts';
import type { Node } from './parts.tsx';

export interface ChapterProps {
  readonly analysis: Analysis;
  readonly figures: DrawnFigures;
}

export interface Chapter {
  /** Unique in the page: the anchor of the chapter. */
  readonly id: string;
  /** Its name in the navigation. */
  readonly nav: string;
  readonly title: string;
  /** Whether it has anything to say. Default: always. */
  readonly concerns?: (analysis: Analysis) => boolean;
  readonly draw: (props: ChapterProps) => Node;
}
