/**
 * How the run went (the DAG with timings, what failed, the slowest stages), and what it was based
 * on: versions, data and store keys.
 */
import type { JSX } from 'preact';
import type { JsonObject, SourceFacts, StageFacts } from '../../api.ts';
import { isRecord } from '../../base/untrusted/json.ts';
import { capital, cut, formatSeconds, formatValue, plural } from '../format.ts';
import { distinct } from '../groups.ts';
import { sectionTitle, varyingPaths } from '../labels.ts';
import {
  axesText,
  type Chapter,
  type Column,
  Figures,
  longTexts,
  names,
  numbers,
  type PageProps,
  stateText,
  Table,
  texts,
} from './parts.tsx';

const SLOWEST = 10;

/**
 * Returns the columns that say which stage a row is and in which state. `varying` are axes to name.
 */
const stageColumns = (varying: ReadonlySet<string>): readonly Column<StageFacts>[] => [
  names('Stage', ({ id }) => <code>{id}</code>),
  texts('Of', (stage) => axesText(stage, varying)),
  numbers('Seed', ({ seed }) => seed ?? 'all'),
  texts('State', stateText),
];

/** Lists the failed and the blocked stages; null if there are none. */
function Failed({ input }: PageProps): JSX.Element | null {
  const failed = input.stages.filter(({ state }) => state === 'failed' || state === 'blocked');
  if (failed.length === 0) return null;
  return (
    <>
      <h3>Failed and blocked stages</h3>
      <Table<StageFacts>
        label="Failed and blocked stages"
        most={60}
        rows={failed}
        columns={[
          ...stageColumns(varyingPaths(input.cells)),
          longTexts('Why', ({ error }) => cut(error ?? '', 600)),
        ]}
      />
    </>
  );
}

const Slowest = ({ input }: PageProps): JSX.Element => (
  <>
    <h3>Slowest stages</h3>
    <Table<StageFacts>
      label="Slowest stages"
      rows={input.stages
        .filter(({ seconds }) => seconds > 0)
        .sort((a, b) => b.seconds - a.seconds)
        .slice(0, SLOWEST)}
      caption="A stage is named after the cells that need it, their clean twin’s stages too."
      columns={[
        ...stageColumns(varyingPaths(input.cells)),
        numbers('Time', ({ seconds }) => formatSeconds(seconds)),
      ]}
    />
  </>
);

export const stages: Chapter = {
  id: 'stages-run',
  nav: 'How it ran',
  title: 'How it ran',
  parts: [({ figures }) => <Figures figures={figures.stages} layout="wide" />, Failed, Slowest],
};

/** Returns nested facts as pairs of a path (`a.b`) and a value. */
function flatten(value: JsonObject, prefix = ''): [string, string][] {
  return Object.entries(value).flatMap(([name, inner]): [string, string][] => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    if (isRecord(inner)) return flatten(inner, path);
    return [[path, [inner].flat().map(formatValue).join(', ')]];
  });
}

const Pairs = ({
  label,
  pairs,
}: {
  readonly label: string;
  readonly pairs: readonly (readonly [string, string])[];
}): JSX.Element => (
  <Table<readonly [string, string]>
    label={label}
    rows={pairs}
    columns={[names('What', ([name]) => name), longTexts('Value', ([, value]) => cut(value, 500))]}
  />
);

const MOST_KEYS = 300;

const StoreKeys = ({ stages }: { readonly stages: readonly StageFacts[] }): JSX.Element => {
  const kept = stages.filter(({ key }) => key !== '');
  return (
    <details>
      <summary>Store keys ({plural(kept.length, 'stage')})</summary>
      <Table<StageFacts>
        label="Store keys"
        most={MOST_KEYS}
        rows={kept}
        caption={
          'An entry lies in the store in a folder named after the first two digits of its key, ' +
          'under its key.'
        }
        columns={[
          names('Stage', ({ id }) => <code>{id}</code>),
          texts('Key', ({ key }) => <code>{key}</code>),
          texts('State', stateText),
          texts('Backend', ({ backend }) => backend ?? '–'),
        ]}
      />
    </details>
  );
};

const ROWS: Readonly<Record<string, string>> = {
  train: 'training rows',
  validation: 'validation rows',
  test: 'test rows',
  clean: 'the defender’s clean rows',
};

/** Says what a source was to a stage: `training rows of the base`, `scorer judge: model`. */
function describeRead({ stage, section, name }: SourceFacts['reads'][number]): string {
  if (name === 'model') return 'model';
  const [, kind = '', of = ''] = /^([^(]*)(?:\((.*)\))?$/s.exec(stage) ?? [];
  const ofSection = section === undefined ? '' : ` of ${sectionTitle(section)}`;
  if (kind === 'data')
    return name === 'data'
      ? `${ROWS[of] ?? `rows of ${of.replace(/^tasks\./, '')}`}${ofSection}`
      : 'names of the classes';
  const [, part, file = name] = /^(trigger|scorer|scorers\/[^/]+|defence)\/(.*)$/.exec(name) ?? [];
  const reader = part?.replace('/', ' ').replace(/^scorers/, 'scorer') ?? kind;
  const what = /^(poison|trigger)$/.test(reader) ? 'attack' : reader;
  return `${what}${ofSection}: ${file.replace(/^sources\//, '')}`;
}

function Provenance({ input }: PageProps): JSX.Element {
  const { packages, ...rest } = input.environment;
  return (
    <>
      <p>
        What repeats the run elsewhere, beside the spec. Threads, processor and backend may change
        the last bits, within the project’s tolerances.
      </p>
      <h3>Sources</h3>
      <Table<SourceFacts>
        label="Sources"
        rows={input.read}
        caption="Everything that a finished stage has read from outside, by the digest of its content."
        columns={[
          texts('Source', ({ uri }) => uri),
          texts('Served as', ({ reads }) => distinct(reads.map(describeRead)).join('; ')),
          texts('Digest', ({ digest }) => <code>{digest}</code>),
        ]}
      />
      <h3>Environment</h3>
      <Pairs label="Environment" pairs={flatten(rest)} />
      {packages === undefined || !isRecord(packages) ? null : (
        <details>
          <summary>Package versions</summary>
          <Pairs label="Package versions" pairs={flatten(packages)} />
        </details>
      )}
      {Object.entries(input.sources).map(([role, source]) => (
        <>
          <h3>{capital(role)}</h3>
          <Pairs label={role} pairs={flatten(source)} />
        </>
      ))}
      <StoreKeys stages={input.stages} />
    </>
  );
}

export const provenance: Chapter = {
  id: 'provenance',
  nav: 'Provenance',
  title: 'Provenance',
  parts: [Provenance],
};
