/**
 * A table of any length: only the rows in view, and a few beyond, are in the document. Keys move
 * the active row, which a screen reader reads through `aria-activedescendant`.
 */
import type { ComponentChildren, JSX } from 'preact';
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

export interface GridProps {
  readonly id: string;
  readonly label: string;
  readonly columns: readonly { readonly name: string; readonly isNumber?: boolean }[];
  /** In pixels. The first column takes what is left. */
  readonly widths: readonly number[];
  readonly count: number;
  /**
   * The row that is active at first. If `start` changes to another row than 0, that row becomes
   * active. The row is scrolled into view. Default: 0.
   */
  readonly start?: number;
  readonly cells: (row: number) => readonly ComponentChildren[];
  readonly onOpen: (row: number) => void;
}

const ROW = 34,
  GAP = 12;
/** Rows beyond the view that are in the document too, so that scrolling shows no gap. */
const SPARE = 8;

/**
 * Keeps track of which rows are in the document (from `first` up to, but without, `last`) and which
 * row is active (`current`, −1 if there are no rows). `box` is for the element that scrolls, which
 * must call `measure` when it does. `setActive` makes a row active without scrolling to it.
 */
function useRows(count: number, start: number) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ top: 0, height: 400 });
  const [active, setActive] = useState(start);
  const measure = useCallback(() => {
    const at = box.current;
    if (at === null) return;
    setView((before) =>
      before.top === at.scrollTop && before.height === at.clientHeight
        ? before
        : { top: at.scrollTop, height: at.clientHeight },
    );
  }, []);
  useLayoutEffect(measure, [count]);
  useEffect(() => {
    addEventListener('resize', measure);
    return () => removeEventListener('resize', measure);
  }, []);
  const current = Math.min(active, count - 1);
  // Makes a row active, or the first or last row if there is none at `to`, and scrolls it into
  // view.
  const move = (to: number): void => {
    const row = Math.max(0, Math.min(count - 1, to));
    setActive(row);
    const at = box.current;
    if (at === null) return;
    // The head covers the topmost ROW pixels of the view.
    const [top, bottom] = [row * ROW, (row + 1) * ROW];
    if (top < at.scrollTop) at.scrollTop = top;
    else if (bottom > at.scrollTop + at.clientHeight - ROW)
      at.scrollTop = bottom - at.clientHeight + ROW;
    measure();
  };
  useLayoutEffect(() => {
    if (start > 0) move(start);
  }, [start]);
  return {
    box,
    first: Math.max(0, Math.floor(view.top / ROW) - SPARE),
    last: Math.min(count, Math.ceil((view.top + view.height) / ROW) + SPARE),
    current,
    measure,
    setActive,
    /** Moves the active row if the key is among those of `to`, and returns whether the key is. */
    onKey: (key: string): boolean => {
      const page = Math.max(1, Math.floor(view.height / ROW) - 2);
      const to: { readonly [key: string]: number } = {
        ArrowDown: current + 1,
        ArrowUp: current - 1,
        PageDown: current + page,
        PageUp: current - page,
        Home: 0,
        End: count - 1,
      };
      const row = to[key];
      if (row !== undefined) move(row);
      return row !== undefined;
    },
  };
}

export function Grid(props: GridProps): JSX.Element {
  const { id, label, columns, widths, count, start = 0, cells, onOpen } = props;
  const { box, first, last, current, measure, setActive, onKey } = useRows(count, start);
  const [least = 0, ...others] = widths;
  const template = [`minmax(${least}px,1fr)`, ...others.map((width) => `${width}px`)].join(' ');
  return (
    <div
      ref={box}
      class="grid"
      role="grid"
      aria-label={label}
      aria-rowcount={count + 1}
      aria-colcount={columns.length}
      aria-activedescendant={current >= first && current < last ? `${id}-${current}` : undefined}
      tabIndex={0}
      onScroll={measure}
      onKeyDown={(event) => {
        if (event.key === 'Enter' && current >= 0) onOpen(current);
        else if (!onKey(event.key)) return;
        event.preventDefault();
      }}
      style={{
        // Not `height`, because a bar for scrolling sideways would take a part of it.
        maxHeight: `${14 * ROW + 2}px`,
        '--least': `${widths.reduce((sum, width) => sum + width + GAP, GAP)}px`,
      }}
    >
      <div class="head row" role="row" aria-rowindex={1} style={{ gridTemplateColumns: template }}>
        {columns.map(({ name, isNumber }) => (
          <span key={name} role="columnheader" class={isNumber ? 'number' : ''} title={name}>
            {name}
          </span>
        ))}
      </div>
      <div class="rows" role="presentation" style={{ height: `${count * ROW}px` }}>
        {Array.from({ length: Math.max(0, last - first) }, (_, i) => first + i).map((row) => (
          <div
            key={row}
            id={`${id}-${row}`}
            class={row === current ? 'row active' : 'row'}
            role="row"
            aria-rowindex={row + 2}
            aria-selected={row === current}
            style={{ gridTemplateColumns: template, top: `${row * ROW}px` }}
            onClick={() => {
              setActive(row);
              onOpen(row);
            }}
          >
            {cells(row).map((cell, column) => (
              <span
                key={column}
                role={column === 0 ? 'rowheader' : 'gridcell'}
                class={columns[column]?.isNumber ? 'number' : ''}
              >
                {cell}
              </span>
            ))}
          </div>
        ))}
      </div>
    </div>
  );
}
