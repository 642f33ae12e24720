/** The numbers of the graph as a table: each kind, and how many of its stages are in each state. */
import type { JSX } from 'preact';
import { STAGE_STATES } from '../wire.ts';
import type { GraphViewProps } from './graph-view.tsx';
import { STATE_WORDS, Text } from './parts.tsx';
import type { GroupCounts } from './run-store.ts';

export function KindTable({ groups, onShow }: Omit<GraphViewProps, 'graph'>): JSX.Element {
  const states = STAGE_STATES.filter((state) => groups.some(({ counts }) => counts[state]));
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Stages by kind and state">
      <table class="dense">
        <thead>
          <tr>
            <th scope="col">Kind</th>
            {states.map((state) => (
              <th key={state} scope="col" class="number">
                <span aria-hidden="true">{STATE_WORDS[state][0]}</span> {STATE_WORDS[state][1]}
              </th>
            ))}
            <th scope="col" class="number">
              all
            </th>
          </tr>
        </thead>
        <tbody>
          {groups.map((group) => (
            <tr key={group.name}>
              <th scope="row">
                <button
                  type="button"
                  class="link"
                  onClick={() => onShow({ group: String(group.index) })}
                >
                  <Text>{group.name}</Text>
                </button>
              </th>
              {states.map((state) => (
                <td key={state} class="number">
                  <Count group={group} state={state} onShow={onShow} />
                </td>
              ))}
              <td class="number">{group.all}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const Count = ({
  group,
  state,
  onShow,
}: Pick<GraphViewProps, 'onShow'> & {
  readonly group: GroupCounts;
  readonly state: (typeof STAGE_STATES)[number];
}): JSX.Element => {
  const n = group.counts[state] ?? 0;
  if (n === 0) return <span class="muted">0</span>;
  return (
    <button
      type="button"
      class={state === 'failed' ? 'link bad' : 'link'}
      aria-label={`${n} ${STATE_WORDS[state][1]} of ${group.name}: show them`}
      onClick={() => onShow({ group: String(group.index), state })}
    >
      {n}
    </button>
  );
};
