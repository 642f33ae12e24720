import simpleImportSort from 'eslint-plugin-simple-import-sort';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  {
    ignores: ['dist/**', 'node_modules/**', '.cache/**', '.dosimeter/**', '**/*.generated.ts'],
  },
  {
    files: ['**/*.ts', '**/*.tsx', '**/*.mts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: `${import.meta.dirname}/..` },
    },
    rules: {
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_' },
      ],
      // Numbers read well in a message; what is not a string, a number or a truth is spelt out.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // `!` where an index is proved to be within bounds: counted in review, not forbidden.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // `() => void` handlers that return what their call returns.
      '@typescript-eslint/no-confusing-void-expression': [
        'error',
        { ignoreArrowShorthand: true, ignoreVoidOperator: true },
      ],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
    },
  },
  { files: ['**/*.js', '**/*.mjs'], extends: [...tseslint.configs.recommended] },
  {
    plugins: { 'simple-import-sort': simpleImportSort },
    rules: {
      'no-empty': ['error', { allowEmptyCatch: false }],
      eqeqeq: 'error',
      'no-duplicate-imports': 'error',
      // Prettier breaks code, but not comments.
      'max-len': ['error', { code: 1000, comments: 100, ignoreUrls: true }],
      'simple-import-sort/imports': [
        'error',
        // Node's modules, then packages, then this project's, each block in alphabetical order.
        { groups: [['^node:', '^\\w', '^@', '^\\.']] },
      ],
    },
  },
  {
    // Only the command line and set-up may talk to the terminal.
    files: ['src/**/*.ts', 'src/**/*.tsx', 'plugins/**/*.ts'],
    ignores: ['src/cli.ts', 'src/cli/**'],
    rules: { 'no-console': 'error' },
  },
);
