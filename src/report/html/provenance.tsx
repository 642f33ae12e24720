/** Shows what the run was based on: versions, data and store keys. */
import type { JSX } from 'preact';
import type { Json, JsonObject, StageFacts } from '../../api.ts';
import { cut, formatValue, plural } from '../format.ts';
import type { Chapter, ChapterProps } from './chapter.ts';
import { stateText, Table } from './parts.tsx';

/** Returns nested facts as pairs of a path such as `a.b` and its value. */
function flatten(value: JsonObject, prefix = ''): [string, string][] {
  return Object.entries(value).flatMap(([name, inner]): [string, string][] => {
    const path = prefix === '' ? name : `${prefix}.${name}`;
    if (isObject(inner)) return flatten(inner, path);
    return [
      [
        path,
        Array.isArray(inner)
          ? inner.map((item: Json) => formatValue(item)).join(', ')
          : formatValue(inner),
      ],
    ];
  });
}
const isObject = (value: Json): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const Pairs = ({
  label,
  pairs,
}: {
  readonly label: string;
  readonly pairs: readonly (readonly [string, string])[];
}): JSX.Element => (
  <Table
    label={label}
    rows={pairs}
    columns={[
      { title: 'What', kind: 'nowrap', value: ([name]) => name },
      { title: 'Value', kind: 'cut', value: ([, value]) => cut(value, 500) },
    ]}
  />
);

/** The most store keys to show, since a run may have thousands of stages. */
const MOST_KEYS = 300;

const StoreKeys = ({ stages }: { readonly stages: readonly StageFacts[] }): JSX.Element => {
  const kept = stages.filter(({ key }) => key !== '');
  return (
    <details>
      <summary>Store keys ({plural(kept.length, 'stage')})</summary>
      <Table
        label="Store keys"
        most={MOST_KEYS}
        rows={kept}
        caption={
          'An entry lies in the store in a folder named after the first two digits of its key, ' +
          'under its key.'
        }
        columns={[
          { title: 'Stage', kind: 'nowrap', value: ({ id }) => <code>{id}</code> },
          { title: 'Key', value: ({ key }) => <code>{key}</code> },
          { title: 'State', value: stateText },
          { title: 'Backend', value: ({ backend }) => backend ?? '–' },
        ]}
      />
    </details>
  );
};

function Provenance({ analysis: { input } }: ChapterProps): JSX.Element {
  const { packages, ...rest } = input.environment;
  return (
    <>
      <p>
        Enough to repeat the run elsewhere. Threads, processor and backend may change the last bits,
        within the project’s tolerances.
      </p>
      <h3>Environment</h3>
      <Pairs label="Environment" pairs={flatten(rest)} />
      {packages === undefined || !isObject(packages) ? null : (
        <details>
          <summary>Package versions</summary>
          <Pairs label="Package versions" pairs={flatten(packages)} />
        </details>
      )}
      {Object.entries(input.sources).map(([role, source]) => (
        <>
          <h3>{role.charAt(0).toUpperCase() + role.slice(1)}</h3>
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
  draw: (props) => <Provenance {...props} />,
};
