/** How the run went: the DAG with timings, what failed, the slowest stages. */
import type { JSX } from 'preact';
import type { StageFacts } from '../../api.ts';
import { cut, formatSeconds } from '../format.ts';
import type { Chapter, ChapterProps } from './chapter.ts';
import { axesText, type Column, Figures, stateText, Table } from './parts.tsx';

const SLOWEST = 10;

const NAMES: readonly Column<StageFacts>[] = [
  { title: 'Stage', kind: 'nowrap', value: ({ id }) => <code>{id}</code> },
  { title: 'Of', value: axesText },
  { title: 'Seed', kind: 'number', value: ({ seed }) => seed ?? 'all' },
  { title: 'State', value: stateText },
];

const Failed = ({ stages }: { readonly stages: readonly StageFacts[] }): JSX.Element | null =>
  stages.length === 0 ? null : (
    <>
      <h3>Failed and blocked stages</h3>
      <Table
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

function Stages({ analysis: { input }, figures }: ChapterProps): JSX.Element {
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
      <Table
        label="Slowest stages"
        rows={slowest}
        columns={[
          ...NAMES,
          { title: 'Time', kind: 'number', value: ({ seconds }) => formatSeconds(seconds) },
        ]}
      />
    </>
  );
}

export const stages: Chapter = {
  id: 'stages-run',
  nav: 'How it ran',
  title: 'How it ran',
  draw: (props) => <Stages {...props} />,
};
