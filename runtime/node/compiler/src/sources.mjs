// What the syntax of a function's file tells: one default export, no SDK promise left to itself, credentials used.

import path from 'node:path';
import ts from 'typescript';
import { RUNTIME } from './paths.mjs';

/** Members whose promise may be left to itself: nothing is lost. */
const MAY_FLOAT = new Set(['log']);
/** Members through which credentials come into the sandbox. */
const SECRET_MEMBERS = new Set(['getConnection', 'getToken']);
const SDK_DIRECTORY = path.join(RUNTIME, 'sdk') + path.sep;

function walk(node, visit) {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

/** Files of the project itself, not of packages. */
function ownSources(program, project) {
  return program
    .getSourceFiles()
    .filter(({ fileName, isDeclarationFile }) => !isDeclarationFile && fileName.startsWith(project + path.sep))
    .filter(({ fileName }) => !fileName.includes(`${path.sep}node_modules${path.sep}`));
}

/** @returns {import('./errors.mjs').Finding[]} */
export function checkSources(program, functions, project) {
  const errors = functions.flatMap(({ file, relative }) => defaultExportErrors(program.getSourceFile(file), relative));
  const checker = program.getTypeChecker();
  for (const source of ownSources(program, project)) {
    walk(source, (node) => {
      const member = floating(node, checker);
      if (member !== undefined) errors.push(floatingError(member, node, source, project));
    });
  }
  return errors;
}

function placeOf(node, source, file) {
  const { line, character } = source.getLineAndCharacterOfPosition(node.getStart(source));
  return { file, line: line + 1, column: character + 1 };
}

/** Nodes that make a default export. */
function defaultExports(source) {
  return source.statements.flatMap((statement) => {
    if (ts.isExportAssignment(statement) && !statement.isExportEquals) return [statement];
    if (ts.isExportDeclaration(statement) && statement.exportClause && ts.isNamedExports(statement.exportClause)) {
      return statement.exportClause.elements.filter((element) => element.name.text === 'default');
    }
    const modifiers = ts.canHaveModifiers(statement) ? (ts.getModifiers(statement) ?? []) : [];
    return modifiers.some(({ kind }) => kind === ts.SyntaxKind.DefaultKeyword) ? [statement] : [];
  });
}

function defaultExportErrors(source, file) {
  const found = defaultExports(source);
  const todo = 'A function file has one: export default createAction({ … }), createSync, createWebhook or createOnEvent';
  if (found.length === 0) {
    return [{ code: 'no_default_export', file, line: 1, column: 1, message: 'The file has no default export', todo }];
  }
  return found.slice(1).map((node) => ({
    code: 'second_default_export',
    ...placeOf(node, source, file),
    message: 'The file has a second default export',
    todo,
  }));
}

/** The SDK's member, when this statement calls it and drops the promise. */
function floating(node, checker) {
  if (!ts.isExpressionStatement(node)) return undefined;
  const call = node.expression;
  if (!ts.isCallExpression(call) || !ts.isPropertyAccessExpression(call.expression)) return undefined;
  const member = call.expression.name;
  if (MAY_FLOAT.has(member.text) || !isOfSdk(checker.getSymbolAtLocation(member))) return undefined;
  const isPromise = checker.getTypeAtLocation(call).getProperty('then') !== undefined;
  return isPromise ? member.text : undefined;
}

function isOfSdk(symbol) {
  return symbol?.declarations?.some((at) => at.getSourceFile().fileName.startsWith(SDK_DIRECTORY)) ?? false;
}

function floatingError(member, node, source, project) {
  return {
    code: 'floating_promise',
    ...placeOf(node, source, path.relative(project, source.fileName)),
    message: `Nobody waits for ${member}(): it may not have happened when the function ends, and its failure is lost`,
    todo: `Write: await ${node.expression.getText(source).slice(0, 60)}`,
  };
}

/**
 * Whether any of these files uses the connection's credentials. A member of that name counts unless it is known to
 * belong to something else: a helper may take the context as `any`.
 * @param {string[]} files absolute
 */
export function usesSecrets(program, files) {
  const checker = program.getTypeChecker();
  return files.some((file) => {
    const source = program.getSourceFile(file);
    let found = false;
    if (source !== undefined) walk(source, (node) => (found ||= namesSecret(node, checker)));
    return found;
  });
}

function namesSecret(node, checker) {
  if (ts.isStringLiteralLike(node) && ts.isElementAccessExpression(node.parent)) return SECRET_MEMBERS.has(node.text);
  const named =
    (ts.isPropertyAccessExpression(node) && node.name) ||
    (ts.isBindingElement(node) && (node.propertyName ?? node.name)) ||
    undefined;
  if (named === undefined || !ts.isIdentifier(named) || !SECRET_MEMBERS.has(named.text)) return false;
  const symbol = checker.getSymbolAtLocation(named);
  const declarations = symbol?.declarations ?? [];
  const elsewhere = declarations.length > 0 && !isOfSdk(symbol) && !ts.isBindingElement(node);
  return !elsewhere;
}
