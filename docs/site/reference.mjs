/**
 * The generated pages: every field of a spec, every plugin, every command, and what `--json`
 * prints.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** @typedef {{ [key: string]: any }} Schema */

const LINES = 2 ** 26;

/**
 * The command line, run with these arguments.
 * @param {string} project
 * @param {readonly string[]} args
 * @throws {Error} where it fails
 */
function dosimeter(project, args) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(project, 'src', 'setup', 'launcher.mjs'), ...args],
    {
      cwd: project,
      encoding: 'utf8',
      maxBuffer: LINES,
      env: { ...process.env, NO_COLOR: '1', COLUMNS: '100' },
    },
  );
  if (status !== 0) throw new Error(`dosimeter ${args.join(' ')} failed:\n${stderr}`);
  return stdout;
}

/** @param {string} text */
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** Prose: a brace pair would be read as an expression. @param {string} text */
const prose = (text) => text.replaceAll('{{', '{ {').replaceAll('<', '&lt;');

/** @param {unknown} value */
const code = (value) => `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;

/** What a field may hold, in words. @param {Schema} schema @returns {string} */
function typeOf(schema) {
  if (schema.const !== undefined) return code(schema.const);
  if (schema.enum) return schema.enum.map(code).join(', ');
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return [...new Set(either.map(typeOf))].join(' or ');
  if (schema.$ref) return `[${schema.$ref.split('/').at(-1)}](#${schema.$ref.split('/').at(-1)})`;
  if (Array.isArray(schema.type)) return schema.type.join(' or ');
  if (schema.type === 'array') return `list of ${schema.items ? typeOf(schema.items) : 'values'}`;
  if (schema.type === 'object') return schema.properties ? 'mapping' : 'mapping of any names';
  return schema.type ?? 'any';
}

/** @param {Schema} schema @returns {string} */
function boundsOf(schema) {
  return [
    schema.minimum === undefined ? null : `≥ ${schema.minimum}`,
    schema.exclusiveMinimum === undefined ? null : `> ${schema.exclusiveMinimum}`,
    schema.maximum === undefined ? null : `≤ ${schema.maximum}`,
    schema.exclusiveMaximum === undefined ? null : `< ${schema.exclusiveMaximum}`,
  ]
    .filter((bound) => bound !== null)
    .join(', ');
}

/**
 * A row for a field, and rows for the fields in it.
 * @param {string} name
 * @param {Schema} schema
 * @returns {string[]}
 */
function rowsOf(name, schema, required = false) {
  const bounds = boundsOf(schema);
  const fallback =
    schema.default === undefined || schema.type === 'object' ? '' : code(schema.default);
  const of = schema.type === 'array' && schema.items?.properties ? schema.items : schema;
  const inner = Object.entries(of.properties ?? {}).flatMap(([key, value]) =>
    rowsOf(`${name}${of === schema ? '' : '[]'}.${key}`, value, of.required?.includes(key)),
  );
  return [
    `| \`${name}\` | ${cell(typeOf(schema))}${bounds && `, ${bounds}`} | ` +
      `${cell(required ? '(required)' : fallback)} | ${cell(prose(schema.description ?? ''))} |`,
    ...inner,
  ];
}

const HEAD = ['| field | values | default | meaning |', '|---|---|---|---|'];

/** The fields of a mapping as a table. @param {Schema} schema @param {string} [under] */
const fieldTable = (schema, under = '') => [
  ...HEAD,
  ...Object.entries(schema.properties ?? {}).flatMap(([name, value]) =>
    rowsOf(under + name, value, schema.required?.includes(name)),
  ),
];

/** @param {string} project @param {string} name @returns {Schema} */
const readSchema = (project, name) =>
  JSON.parse(readFileSync(join(project, 'schemas', `${name}.schema.json`), 'utf8'));

/** @param {string} project */
function specPage(project) {
  const schema = readSchema(project, 'pipeline');
  const sections = Object.entries(schema.definitions ?? {});
  return [
    '# The spec',
    '',
    'Every field of a spec. Generated from `schemas/pipeline.schema.json`. Where a field of a ' +
      'cell takes',
    'one value, a list of values, `{linspace}`, `{logspace}` or `{range}` makes it an axis of ' +
      'the grid.',
    'The parameters of attacks, adapters and scorers are in [Plugins](plugins.md).',
    '',
    '## The whole',
    '',
    ...fieldTable(schema),
    ...sections.flatMap(([name, section]) => [
      '',
      `## ${name}`,
      '',
      prose(section.description ?? ''),
      '',
      ...(section.properties ? fieldTable(section) : []),
    ]),
  ];
}

/**
 * @typedef {{ kind: string, name: string, summary: string, file: string, citation?: string,
 *   family?: string,
 *    parameters?: readonly { name: string, required: boolean, schema: Schema }[] }} Described
 */

/** @param {string} project */
function pluginsPage(project) {
  /** @type {readonly Described[]} */
  const listed = JSON.parse(dosimeter(project, ['plugins', '--json']));
  const kinds = [...new Set(listed.map(({ kind }) => kind))];
  const described = new Map(
    [...new Set(listed.map(({ name }) => name))].flatMap((name) => {
      /** @type {readonly Described[]} */
      const found = JSON.parse(dosimeter(project, ['plugins', name, '--json']));
      return found.map((plugin) => [`${plugin.kind} ${plugin.name}`, plugin]);
    }),
  );
  return [
    '# Plugins',
    '',
    'Every built-in plugin. Generated from their descriptors; `dosimeter plugins NAME` prints ' +
      'the same.',
    ...kinds.flatMap((kind) => [
      '',
      `## ${kind}s`,
      ...listed
        .filter((plugin) => plugin.kind === kind)
        .flatMap(({ name }) => pluginSection(described.get(`${kind} ${name}`))),
    ]),
  ];
}

/** @param {Described | undefined} plugin */
function pluginSection(plugin) {
  if (plugin === undefined) return [];
  const { kind, name, summary, file, citation, family, parameters } = plugin;
  return [
    '',
    `### ${kind} ${name}`,
    '',
    prose(summary),
    '',
    `- file: \`${file}\``,
    ...(family ? [`- family: ${family}`] : []),
    ...(citation ? [`- source: ${prose(citation)}`] : []),
    ...(parameters && parameters.length > 0
      ? ['', ...HEAD, ...parameters.flatMap((one) => rowsOf(one.name, one.schema, one.required))]
      : []),
  ];
}

/** The names of the commands, as `--help` lists them. @param {string} help */
export function commandNames(help) {
  const listed = help.slice(help.indexOf('\nCommands:'));
  return [...listed.matchAll(/^ {2}([a-z][a-z-]*)\b/gm)]
    .map(([, name]) => name ?? '')
    .filter((name) => name !== 'help');
}

/** @param {string} project */
function commandsPage(project) {
  const help = dosimeter(project, ['--help']);
  return [
    '# The command line',
    '',
    'What `dosimeter COMMAND --help` prints, for every command.',
    '',
    '```text',
    help.trimEnd(),
    '```',
    ...commandNames(help).flatMap((name) => [
      '',
      `## ${name}`,
      '',
      '```text',
      dosimeter(project, [name, '--help']).trimEnd(),
      '```',
    ]),
  ];
}

/** @param {string} project */
function formatsPage(project) {
  return [
    '# JSON output',
    '',
    'What commands print with `--json`. Generated from `schemas/`.',
    ...['plan', 'results'].flatMap((name) => {
      const schema = readSchema(project, name);
      return [
        '',
        `## ${name} --json`,
        '',
        prose(schema.description ?? ''),
        '',
        ...fieldTable(schema.items ?? schema),
      ];
    }),
  ];
}

/**
 * Writes spec.md, plugins.md, commands.md and json.md.
 * @param {string} project the repository's root
 * @param {string} folder where they go
 */
export function writeReference(project, folder) {
  mkdirSync(folder, { recursive: true });
  const pages = {
    spec: specPage(project),
    plugins: pluginsPage(project),
    commands: commandsPage(project),
    json: formatsPage(project),
  };
  for (const [name, lines] of Object.entries(pages))
    writeFileSync(join(folder, `${name}.md`), `${lines.join('\n')}\n`);
}
