/** The graph of the kinds of stages. It shows how many stages of each kind are finished. */
import type { JSX } from 'preact';
import { Text } from '../../report/browser/rows.tsx';
import { plural } from '../../report/format.ts';
import { type Graph, STAGE_STATES } from '../wire.ts';
import type { GroupCounts } from './connection.ts';
import {
  type Column,
  countsInWords,
  finishedCount,
  STATE_WORDS,
  StateBar,
  Table,
} from './parts.tsx';
import type { StageFilter } from './stage-list.tsx';

export interface GraphViewProps {
  readonly graph: Graph;
  readonly groups: readonly GroupCounts[];
  readonly onShow: (filter: Partial<StageFilter>) => void;
}

/** A box for each kind of stage, and an arrow from a kind to each that reads it. */
export const GraphView = ({ graph, groups, onShow }: GraphViewProps): JSX.Element => (
  <div class="scroll graph" tabIndex={0} role="region" aria-label="Graph of the kinds of stages">
    <div class="canvas" style={{ width: `${graph.width}px`, height: `${graph.height}px` }}>
      <svg width={graph.width} height={graph.height} aria-hidden="true">
        <defs>
          <marker
            id="tip"
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="7"
            markerHeight="7"
            orient="auto"
          >
            <path d="M0 0L8 4L0 8z" />
          </marker>
        </defs>
        {graph.arrows.map((points, i) => (
          <path key={i} class="arrow" d={arrowPath(points)} marker-end="url(#tip)" />
        ))}
      </svg>
      {[...groups]
        .sort((a, b) => a.level - b.level || a.y - b.y)
        .map((group) => (
          <Box key={group.name} group={group} box={graph.box} onShow={onShow} />
        ))}
    </div>
  </div>
);

function Box({
  group,
  box,
  onShow,
}: Pick<GraphViewProps, 'onShow'> & {
  readonly group: GroupCounts;
  readonly box: Graph['box'];
}): JSX.Element {
  const { name, counts, all } = group;
  const isBad = (counts['failed'] ?? 0) + (counts['blocked'] ?? 0) > 0;
  return (
    <button
      type="button"
      class={isBad ? 'box has-failed' : 'box'}
      style={{
        left: `${group.x - box.width / 2}px`,
        top: `${group.y - box.height / 2}px`,
        width: `${box.width}px`,
        height: `${box.height}px`,
      }}
      aria-label={
        `${name}, level ${group.level + 1}: ${plural(all, 'stage')}, ` +
        `${countsInWords(counts)}. Show them.`
      }
      onClick={() => onShow({ group: String(group.index) })}
    >
      <strong>
        <Text>{name}</Text>
      </strong>
      <span>
        {finishedCount(counts)} of {all}
      </span>
      <span>{describeNow(counts)}</span>
      <StateBar counts={counts} all={all} />
    </button>
  );
}

/**
 * Returns the counts that deserve attention, in words: how many stages have failed (or are blocked,
 * if none has failed), then how many are running.
 */
function describeNow({ failed = 0, blocked = 0, running = 0 }: GroupCounts['counts']): string {
  const parts = [
    failed > 0 ? `${failed} failed` : '',
    failed === 0 && blocked > 0 ? `${blocked} blocked` : '',
    running > 0 ? `${running} running` : '',
  ];
  return parts.filter((part) => part !== '').join(', ');
}

/**
 * Returns the path of an arrow along x, y, x, y, …: a curve for three points, otherwise straight
 * lines.
 */
function arrowPath(points: readonly number[]): string {
  const pairs = points.flatMap((x, i) => (i % 2 === 0 ? [`${x} ${points[i + 1] ?? 0}`] : []));
  const [start = '0 0', ...rest] = pairs;
  return rest.length === 2 ? `M${start}Q${rest.join(' ')}` : `M${start}L${rest.join('L')}`;
}

/** How many stages of each kind are in each state, as a table. */
export function KindTable({ groups, onShow }: Omit<GraphViewProps, 'graph'>): JSX.Element {
  const states = STAGE_STATES.filter((state) => groups.some(({ counts }) => counts[state]));
  const columns: readonly Column<GroupCounts>[] = [
    {
      title: 'Kind',
      cell: ({ name, index }) => (
        <button type="button" class="link" onClick={() => onShow({ group: String(index) })}>
          <Text>{name}</Text>
        </button>
      ),
    },
    ...states.map((state): Column<GroupCounts> => ({
      title: (
        <>
          <span aria-hidden="true">{STATE_WORDS[state][0]}</span> {STATE_WORDS[state][1]}
        </>
      ),
      kind: 'number',
      cell({ name, index, counts }) {
        const n = counts[state] ?? 0;
        return n === 0 ? (
          <span class="muted">0</span>
        ) : (
          <button
            type="button"
            class={state === 'failed' ? 'link bad' : 'link'}
            aria-label={`${n} ${STATE_WORDS[state][1]} of ${name}: show them`}
            onClick={() => onShow({ group: String(index), state })}
          >
            {n}
          </button>
        );
      },
    })),
    { title: 'all', kind: 'number', cell: ({ all }) => all },
  ];
  return (
    <Table
      label="Stages by kind and state"
      dense
      columns={columns}
      rows={groups}
      keyOf={({ name }) => name}
    />
  );
}
