/** How the run went: the DAG with timings, what failed, the slowest stages. */
import type { JSX } from 'preact';
import type { StageFacts } from '../../api.ts';
import { cut, formatSeconds } from '../format.ts';
import {
  axesText,
  type Chapter,
  type Column,
  Figures,
  names,
  numbers,
  type PageProps,
  stateText,
  Table,
  texts,
} from './parts.tsx';

const SLOWEST = 10;

const NAMES: readonly Column<StageFacts>[] = [
  names('Stage', ({ id }) => <code>{id}</code>),
  texts('Of', axesText),
  numbers('Seed', ({ seed }) => seed ?? 'all'),
  texts('State', stateText),
];

const Failed = ({ stages }: { readonly stages: readonly StageFacts[] }): JSX.Element | null =>
  stages.length === 0 ? null : (
    <>
      <h3>Failed and blocked stages</h3>
      <Table<StageFacts>
        label="Failed and blocked stages"
        most={60}
        rows={stages}
        columns={[
          ...NAMES,
          { title: 'Why', kind: 'cut', value: ({ error }) => cut(error ?? '', 600) },
        ]}
      />
    </>
  );

function Stages({ input, figures }: PageProps): JSX.Element {
  const slowest = [...input.stages]
    .filter(({ seconds }) => seconds > 0)
    .sort((a, b) => b.seconds - a.seconds)
    .slice(0, SLOWEST);
  return (
    <>
      <Figures figures={figures.stages} layout="wide" />
      <Failed
        stages={input.stages.filter(({ state }) => state === 'failed' || state === 'blocked')}
      />
      <h3>Slowest stages</h3>
      <Table<StageFacts>
        label="Slowest stages"
        rows={slowest}
        columns={[...NAMES, numbers('Time', ({ seconds }) => formatSeconds(seconds))]}
      />
    </>
  );
}

export const stages: Chapter = {
  id: 'stages-run',
  nav: 'How it ran',
  title: 'How it ran',
  parts: [Stages],
};
