import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import { Grid } from '../../report/browser/grid.tsx';
import { Choice } from '../../report/browser/outputs.tsx';
import { Text } from '../../report/browser/rows.tsx';
import { formatSeconds, plural } from '../../report/format.ts';
import { type Stage, STAGE_STATES } from '../wire.ts';
import type { GroupCounts, RunView } from './connection.ts';
import { StageChip, STATE_WORDS } from './parts.tsx';

export interface StageFilter {
  /** Words, separated by spaces. Each must occur in the label or the id of a stage. */
  readonly text: string;
  /** A state; empty for stages in any state. */
  readonly state: string;
  /** A group's index; empty for stages of all groups. */
  readonly group: string;
}

export interface StageListProps {
  readonly view: RunView;
  readonly groups: readonly GroupCounts[];
  readonly filter: StageFilter;
  readonly onFilter: (filter: StageFilter) => void;
  readonly onOpen: (index: number) => void;
}

function filterStages(stages: readonly Stage[], { text, state, group }: StageFilter): number[] {
  const words = text
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  const found: number[] = [];
  for (const [index, stage] of stages.entries()) {
    if (state !== '' && stage.state !== state) continue;
    if (group !== '' && stage.group !== Number(group)) continue;
    if (words.length > 0) {
      const label = `${stage.label} ${stage.id}`.toLowerCase();
      if (!words.every((word) => label.includes(word))) continue;
    }
    found.push(index);
  }
  return found;
}

const COLUMNS = [
  { name: 'Stage' },
  { name: 'State' },
  { name: 'Took', isNumber: true },
  { name: 'Progress', isNumber: true },
];
/** In pixels. On a phone, the last two columns are reached by scrolling sideways. */
const WIDTHS = [190, 96, 56, 120];

export function StageList(props: StageListProps): JSX.Element {
  const { view, groups, filter, onFilter, onOpen } = props;
  const { text, state, group } = filter;
  const found = useMemo(
    () => filterStages(view.stages, filter),
    [view.version, text, state, group],
  );
  return (
    <>
      <form
        class="filter"
        role="search"
        aria-label="Filter stages"
        onSubmit={(e) => e.preventDefault()}
      >
        <label>
          Words{' '}
          <input
            type="search"
            value={text}
            placeholder="train lora seed=1"
            onInput={(event) => onFilter({ ...filter, text: event.currentTarget.value })}
          />
        </label>
        <Choice
          name="State"
          value={state}
          options={[['', 'all'], ...STAGE_STATES.map((one) => [one, STATE_WORDS[one][1]] as const)]}
          onChoose={(value) => onFilter({ ...filter, state: value })}
        />
        <Choice
          name="Kind"
          value={group}
          options={[
            ['', 'all'],
            ...groups.map(({ name, index }) => [String(index), name] as const),
          ]}
          onChoose={(value) => onFilter({ ...filter, group: value })}
        />
        <span class="muted small" role="status">
          {found.length === view.stages.length
            ? plural(found.length, 'stage')
            : `${found.length.toLocaleString('en')} of ${plural(view.stages.length, 'stage')}`}
        </span>
        {text + state + group === '' ? null : (
          <button
            type="button"
            class="link"
            onClick={() => onFilter({ text: '', state: '', group: '' })}
          >
            show all
          </button>
        )}
      </form>
      <Grid
        id="stage"
        label="Stages"
        columns={COLUMNS}
        widths={WIDTHS}
        count={found.length}
        cells={(row) => rowCells(view.stages[found[row] ?? -1])}
        onOpen={(row) => {
          const index = found[row];
          if (index !== undefined) onOpen(index);
        }}
      />
    </>
  );
}

/** Returns the cells of a stage's row, one for each of COLUMNS; none if there is no stage. */
function rowCells(stage: Stage | undefined): (JSX.Element | string)[] {
  if (stage === undefined) return [];
  const { label, state, progress, seconds } = stage;
  return [
    <span class="cut" title={label}>
      <Text>{label}</Text>
    </span>,
    <StageChip state={state} />,
    seconds === undefined ? '' : formatSeconds(seconds),
    progress === undefined ? '' : `${progress[0]}/${progress[1]} ${progress[2]}`,
  ];
}
