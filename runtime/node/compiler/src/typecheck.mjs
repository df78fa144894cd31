// Type-checking a project as its author's editor would, with defaults where it has no tsconfig.json.

import path from 'node:path';
import ts from 'typescript';
import { OWN_MODULES, RUNTIME, SDK_NAMES, SDK_TYPES } from './paths.mjs';

const ERRORS_MAX = 100;

const DEFAULTS = {
  strict: true,
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts'],
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  esModuleInterop: true,
  resolveJsonModule: true,
  allowJs: true,
};

function optionsOf(project) {
  const file = path.join(project, 'tsconfig.json');
  const config = ts.sys.fileExists(file) ? ts.readConfigFile(file, ts.sys.readFile).config : undefined;
  const own = config ? ts.parseJsonConfigFileContent(config, ts.sys, project).options : DEFAULTS;
  return {
    ...own,
    noEmit: true,
    declaration: false,
    composite: false,
    incremental: false,
    tsBuildInfoFile: undefined,
    skipLibCheck: true,
    allowImportingTsExtensions: own.moduleResolution === ts.ModuleResolutionKind.Bundler,
    typeRoots: [path.join(project, 'node_modules/@types'), path.join(OWN_MODULES, '@types')],
    types: own.types ?? ['node'],
  };
}

/** Resolves the SDK to ours, other packages from the project first and from the compiler's own second. */
function resolver(options, host) {
  const cache = ts.createModuleResolutionCache(host.getCurrentDirectory(), (name) => name, options);
  const own = path.join(RUNTIME, 'compiler/any.ts');
  return (literals, containing, redirected, _, source) =>
    literals.map((literal) => {
      const name = literal.text;
      if (SDK_NAMES.includes(name)) {
        return { resolvedModule: { resolvedFileName: SDK_TYPES, extension: '.d.ts', isExternalLibraryImport: true } };
      }
      const mode = ts.getModeForUsageLocation(source, literal, options);
      const found = ts.resolveModuleName(name, containing, options, host, cache, redirected, mode);
      if (found.resolvedModule || name.startsWith('.')) return found;
      return ts.resolveModuleName(name, own, options, host, undefined, redirected, mode);
    });
}

/** Declarations that come with the compiler do not change: parsed once, they serve every program with these options. */
const parsed = new Map();

function cacheOwn(host, options) {
  const { getSourceFile } = host;
  const key = JSON.stringify(options);
  host.getSourceFile = (file, ...rest) => {
    if (!file.startsWith(RUNTIME)) return getSourceFile(file, ...rest);
    const name = `${key} ${file}`;
    if (!parsed.has(name)) parsed.set(name, getSourceFile(file, ...rest));
    return parsed.get(name);
  };
}

/**
 * @param {string} project
 * @param {Array<{file: string}>} functions
 * @param {ts.Program} [before] of the same project: what did not change since is taken over
 * @returns {ts.Program}
 */
export function createProgram(project, functions, before) {
  const options = optionsOf(project);
  const host = ts.createCompilerHost(options);
  host.getCurrentDirectory = () => project;
  cacheOwn(host, { ...options, typeRoots: undefined });
  host.resolveModuleNameLiterals = resolver(options, host);
  return ts.createProgram({ rootNames: functions.map(({ file }) => file), options, host, oldProgram: before });
}

/** @returns {import('./errors.mjs').Finding[]} */
export function typeErrors(program, project) {
  const syntax = firstOfEach(program.getSyntacticDiagnostics());
  // What is read after a missing bracket is not what was written: its types say nothing.
  if (syntax.length > 0) return syntax.map((diagnostic) => ({ ...finding(diagnostic, project), ...SYNTAX }));
  const found = ts.getPreEmitDiagnostics(program).filter(({ category }) => category === ts.DiagnosticCategory.Error);
  return found.slice(0, ERRORS_MAX).map((diagnostic) => finding(diagnostic, project));
}

const SYNTAX = { code: 'syntax_error', todo: 'Correct what is written there, or just before it' };

/** The first of each file: it brings about the others. */
function firstOfEach(diagnostics) {
  const seen = new Set();
  return diagnostics.filter(({ file }) => !seen.has(file) && seen.add(file)).slice(0, ERRORS_MAX);
}

function finding({ code, file, start, messageText }, project) {
  const message = ts.flattenDiagnosticMessageText(messageText, ' ');
  const told = { code: 'type_error', message: `${message} (TS${code})`, todo: todoOf(code, message) };
  if (file === undefined) return told;
  const { line, character } = file.getLineAndCharacterOfPosition(start ?? 0);
  return { ...told, file: path.relative(project, file.fileName), line: line + 1, column: character + 1 };
}

function todoOf(code, message) {
  const missing = /Cannot find module '([^'./][^']*)'/.exec(message)?.[1];
  if (missing) return `Install it in the project: npm install ${packageOf(missing)}`;
  return 'Change the code so that the types agree';
}

/** The package of an import. */
export function packageOf(specifier) {
  const [first, second] = specifier.split('/');
  return first.startsWith('@') ? `${first}/${second}` : first;
}
