/** Shows what the run was based on: versions, data and store keys. */
import type { JSX } from 'preact';
import type { Json, JsonObject, StageFacts } from '../../api.ts';
import { cut, formatValue, plural } from '../format.ts';
import { type Chapter, names, type PageProps, stateText, Table, texts } from './parts.tsx';

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
  <Table<readonly [string, string]>
    label={label}
    rows={pairs}
    columns={[
      names('What', ([name]) => name),
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

function Provenance({ input }: PageProps): JSX.Element {
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
  parts: [Provenance],
};
