/**
 * The peers' grids: a cell is a file `cells/N.txt`, a stage copies its input, the report joins the
 * last copies.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setAside } from './aside.ts';
import { output } from './clock.ts';
import type { Tool } from './tool.ts';

const STAGES = ['poison', 'train', 'evaluate'] as const;
const PREVIOUS = { poison: 'cells', train: 'poison', evaluate: 'train' } as const;
const numbers = (cells: number): number[] => Array.from({ length: cells }, (_, i) => i);

interface Description {
  readonly name: string;
  readonly version: () => string | null;
  /** File texts by name. */
  readonly files: (cells: number) => { readonly [file: string]: string };
  readonly run: Tool['run'];
  /** Commands to run before the first run. */
  readonly prepare?: (dir: string) => void;
  /** Where the tool keeps its state. */
  readonly memory: readonly string[];
}

function fileTool({ name, version, files, run, prepare, memory }: Description): Tool {
  const clean = (dir: string): void => {
    setAside(dir, [...STAGES, 'report.txt', ...memory]);
    for (const stage of STAGES) mkdirSync(join(dir, stage), { recursive: true });
    prepare?.(dir);
  };
  return {
    name,
    version,
    run,
    clean,
    write(dir, cells) {
      mkdirSync(join(dir, 'cells'), { recursive: true });
      for (const i of numbers(cells))
        writeFileSync(join(dir, 'cells', `${i}.txt`), `${i / cells}\n`);
      for (const [file, text] of Object.entries(files(cells))) writeFileSync(join(dir, file), text);
      clean(dir);
    },
    change: (dir, cells, turn) => {
      writeFileSync(join(dir, 'cells', `${cells - 1}.txt`), `${1 + turn}\n`);
    },
    report: (dir) => readFileSync(join(dir, 'report.txt'), 'utf8'),
  };
}

export const make = fileTool({
  name: 'make',
  memory: [],
  version: () =>
    output('make', ['--version'])
      ?.split('\n')[0]
      ?.replace(/^GNU Make /, '') ?? null,
  files: (cells) => ({
    Makefile:
      [
        '.SECONDARY:',
        `report.txt: ${numbers(cells)
          .map((i) => `evaluate/${i}.txt`)
          .join(' ')}`,
        '\t@cat $^ > $@',
        ...STAGES.flatMap((stage) => [`${stage}/%.txt: ${PREVIOUS[stage]}/%.txt`, '\t@cp $< $@']),
      ].join('\n') + '\n',
  }),
  run: () => ({ command: 'make', args: ['-s', '-j2', 'report.txt'] }),
});

export const ninja = fileTool({
  name: 'ninja',
  memory: ['.ninja_log', '.ninja_deps'],
  version: () => output('ninja', ['--version']),
  files: (cells) => ({
    'build.ninja':
      [
        'rule copy',
        '  command = cp $in $out',
        'rule join',
        '  command = xargs cat < $out.rsp > $out',
        '  rspfile = $out.rsp',
        '  rspfile_content = $in',
        ...STAGES.flatMap((stage) =>
          numbers(cells).map((i) => `build ${stage}/${i}.txt: copy ${PREVIOUS[stage]}/${i}.txt`),
        ),
        `build report.txt: join ${numbers(cells)
          .map((i) => `evaluate/${i}.txt`)
          .join(' ')}`,
      ].join('\n') + '\n',
  }),
  run: () => ({ command: 'ninja', args: ['-j2', '--quiet'] }),
});

/**
 * The tool doit. Its actions are either Python functions, which run in doit's processes as our
 * stages run in ours, or commands, each of which is a process.
 */
export const doit = (bin: string, actions: 'functions' | 'commands'): Tool =>
  fileTool({
    name: actions === 'functions' ? 'doit' : 'doit (commands)',
    memory: [
      '.doit.db',
      '.doit.db.db',
      '.doit.db.dat',
      '.doit.db.dir',
      '.doit.db.bak',
      '__pycache__',
    ],
    version: () => output(join(bin, 'doit'), ['--version'])?.split('\n')[0] ?? null,
    files: (cells) => ({
      'dodo.py': `def copy(dependencies, targets):
    with open(dependencies[0]) as source, open(targets[0], 'w') as target:
        target.write(source.read())

def join(names, targets):
    with open(targets[0], 'w') as target:
        for name in names:
            with open(name) as source:
                target.write(source.read())

def task_cells():
    for stage, previous in ${JSON.stringify(STAGES.map((stage) => [stage, PREVIOUS[stage]]))}:
        for i in range(${cells}):
            yield {
                'name': f'{stage}-{i}',
                'file_dep': [f'{previous}/{i}.txt'],
                'targets': [f'{stage}/{i}.txt'],
                'actions': [${actions === 'functions' ? 'copy' : "f'cp {previous}/{i}.txt {stage}/{i}.txt'"}],
            }

def task_report():
    names = [f'evaluate/{i}.txt' for i in range(${cells})]
    return {'file_dep': names, 'targets': ['report.txt'], 'actions': [(join, [names])]}
`,
    }),
    run: () => ({ command: join(bin, 'doit'), args: ['-v', '0', '-n', '2'] }),
  });

export const snakemake = (bin: string): Tool =>
  fileTool({
    name: 'snakemake',
    memory: ['.snakemake'],
    version: () => output(join(bin, 'snakemake'), ['--version']),
    files: (cells) => ({
      Snakefile:
        [
          `rule report:\n    input: expand("evaluate/{i}.txt", i=range(${cells}))\n    output: ` +
            '"report.txt"\n    run:\n        with open(output[0], "w") as target:\n            ' +
            'for name in input:\n                with open(name) as source:\n                    ' +
            'target.write(source.read())',
          ...STAGES.map(
            (stage) =>
              `rule ${stage}:\n    input: "${PREVIOUS[stage]}/{i}.txt"\n    output: ` +
              `"${stage}/{i}.txt"\n    shell: "cp {input} {output}"`,
          ),
        ].join('\n\n') + '\n',
    }),
    run: (dir) => ({
      command: join(bin, 'snakemake'),
      args: ['-c2', '--quiet', 'all'],
      env: {
        PATH: `${bin}:${process.env['PATH'] ?? ''}`,
        XDG_CACHE_HOME: join(dir, '.snakemake', 'cache'),
      },
    }),
  });

/** The tool dvc. It runs one stage after another, since `repro` has no parallel jobs. */
export const dvc = (bin: string): Tool =>
  fileTool({
    name: 'dvc',
    memory: ['.dvc', 'dvc.lock', '.dvcignore'],
    version: () => output(join(bin, 'dvc'), ['--version']),
    prepare: (dir) => {
      output(join(bin, 'dvc'), ['init', '--no-scm', '-q'], dir);
    },
    files: (cells) => ({
      'dvc.yaml':
        [
          'stages:',
          ...STAGES.flatMap((stage) =>
            numbers(cells).map(
              (i) =>
                `  ${stage}-${i}: { cmd: cp ${PREVIOUS[stage]}/${i}.txt ${stage}/${i}.txt, ` +
                `deps: [${PREVIOUS[stage]}/${i}.txt], outs: [${stage}/${i}.txt] }`,
            ),
          ),
          `  report: { cmd: "cat evaluate/*.txt > report.txt", deps: [${numbers(cells)
            .map((i) => `evaluate/${i}.txt`)
            .join(', ')}], outs: [report.txt] }`,
        ].join('\n') + '\n',
    }),
    run: () => ({ command: join(bin, 'dvc'), args: ['repro', '-q'] }),
  });

/** The tool wireit, started as npm would start it but without npm's start-up time. */
export const wireit = (modules: string): Tool =>
  fileTool({
    name: 'wireit',
    memory: ['.wireit'],
    version: () =>
      (
        JSON.parse(readFileSync(join(modules, 'wireit', 'package.json'), 'utf8')) as {
          version: string;
        }
      ).version,
    files: (cells) => {
      const names = STAGES.flatMap((stage) => numbers(cells).map((i) => `${stage}-${i}`));
      const script = (stage: (typeof STAGES)[number], i: number): object => ({
        command: `cp ${PREVIOUS[stage]}/${i}.txt ${stage}/${i}.txt`,
        output: [`${stage}/${i}.txt`],
        ...(stage === 'poison'
          ? { files: [`cells/${i}.txt`] }
          : { files: [], dependencies: [`${PREVIOUS[stage]}-${i}`] }),
      });
      return {
        'package.json': JSON.stringify({
          private: true,
          scripts: Object.fromEntries([...names, 'report'].map((name) => [name, 'wireit'])),
          wireit: {
            ...Object.fromEntries(
              STAGES.flatMap((stage) =>
                numbers(cells).map((i) => [`${stage}-${i}`, script(stage, i)]),
              ),
            ),
            report: {
              command: 'cat evaluate/*.txt > report.txt',
              files: [],
              output: ['report.txt'],
              dependencies: numbers(cells).map((i) => `evaluate-${i}`),
            },
          },
        }),
        'package-lock.json': '{"lockfileVersion":3}',
      };
    },
    run: (dir) => ({
      command: process.execPath,
      args: [join(modules, 'wireit', 'bin', 'wireit.js')],
      env: {
        npm_lifecycle_event: 'report',
        npm_package_json: join(dir, 'package.json'),
        npm_config_user_agent: 'npm/10.0.0',
        npm_command: 'run-script',
        WIREIT_PARALLEL: '2',
        WIREIT_LOGGER: 'quiet',
      },
    }),
  });

/**
 * The tool turbo, with one package per cell and one task per stage. Its native program is started
 * directly, without the launcher of the npm package.
 */
export const turbo = (modules: string): Tool => {
  const packages = (dir: string, i: number): string => join(dir, 'packages', `cell-${i}`);
  return {
    name: 'turbo',
    version: () =>
      (
        JSON.parse(readFileSync(join(modules, 'turbo', 'package.json'), 'utf8')) as {
          version: string;
        }
      ).version,
    write(dir, cells) {
      const tasks = Object.fromEntries(
        STAGES.map((stage) => [
          stage,
          {
            inputs: ['cell.txt', 'package.json'],
            outputs: [`${stage}.txt`],
            ...(stage === 'poison' ? {} : { dependsOn: [PREVIOUS[stage]] }),
          },
        ]),
      );
      for (const i of numbers(cells)) {
        mkdirSync(packages(dir, i), { recursive: true });
        writeFileSync(join(packages(dir, i), 'cell.txt'), `${i / cells}\n`);
        writeFileSync(
          join(packages(dir, i), 'package.json'),
          JSON.stringify({
            name: `cell-${i}`,
            version: '1.0.0',
            scripts: {
              poison: 'cp cell.txt poison.txt',
              train: 'cp poison.txt train.txt',
              evaluate: 'cp train.txt evaluate.txt',
            },
          }),
        );
      }
      mkdirSync(join(dir, 'packages', 'report'), { recursive: true });
      const dependencies = Object.fromEntries(numbers(cells).map((i) => [`cell-${i}`, '1.0.0']));
      writeFileSync(
        join(dir, 'packages', 'report', 'package.json'),
        JSON.stringify({
          name: 'report',
          version: '1.0.0',
          dependencies,
          scripts: { report: 'cat ../cell-*/evaluate.txt > report.txt' },
        }),
      );
      writeFileSync(
        join(dir, 'package.json'),
        JSON.stringify({
          name: 'grid',
          private: true,
          packageManager: 'npm@10.0.0',
          workspaces: ['packages/*'],
        }),
      );
      writeFileSync(
        join(dir, 'package-lock.json'),
        JSON.stringify({ name: 'grid', lockfileVersion: 3, packages: {} }),
      );
      writeFileSync(
        join(dir, 'turbo.json'),
        JSON.stringify({
          tasks: { ...tasks, report: { outputs: ['report.txt'], dependsOn: ['^evaluate'] } },
        }),
      );
    },
    run: () => ({
      command: join(
        modules,
        '@turbo',
        `${process.platform}-${process.arch === 'x64' ? '64' : process.arch}`,
        'bin',
        'turbo',
      ),
      args: ['run', 'report', '--concurrency=2', '--output-logs=none'],
      env: {
        TURBO_TELEMETRY_DISABLED: '1',
        TURBO_NO_UPDATE_NOTIFIER: '1',
        PATH: process.env['PATH'] ?? '',
      },
    }),
    change(dir, cells, turn) {
      writeFileSync(join(packages(dir, cells - 1), 'cell.txt'), `${1 + turn}\n`);
    },
    clean: (dir) => setAside(dir, ['.turbo']),
    report: (dir) => readFileSync(join(dir, 'packages', 'report', 'report.txt'), 'utf8'),
  };
};
