/** Codes of ONTAP's REST reference, or of what its stock clients look for. */
export const ontapCodes = {
  /** A fault that is not the request's, and has no code of its own. */
  other: '0',
  duplicate: '1',
  invalid: '2',
  noSuchApi: '3',
  noSuchEntry: '4',
  notAuthorized: '6',
  inUse: '8',
  unexpectedArgument: '262179',
  fieldsExclude: '262186',
  repeatedField: '262188',
  readOnlyField: '262196',
  invalidValue: '262197',
  noSuchAggregate: '787140',
  aggregateMismatch: '787141',
  aggregateMissing: '918232',
  noSuchSvm: '2621462',
  svmMismatch: '2621706',
  svmMissing: '2621707',
  badLogin: '6691623',
  /** Another operation on the volume, such as a move, is under way. */
  volumeBusy: '13107406',
} as const

/** One reason of several, where a request was validated and not carried out. */
export interface OntapReason {
  code: string
  message: string
}

/** ONTAP's error form: `{"error": {"code", "message", "target", "arguments"}}`. */
export class OntapError extends Error {
  readonly status: number
  readonly code: string
  readonly target: string | undefined
  /** All of them, where there is more than one. */
  readonly reasons: readonly OntapReason[]

  constructor(
    status: number,
    code: string,
    message: string,
    target?: string,
    reasons: readonly OntapReason[] = [],
  ) {
    super(message)
    this.status = status
    this.code = code
    this.target = target
    this.reasons = reasons
  }

  static unexpectedArgument(name: string): OntapError {
    return new OntapError(400, ontapCodes.unexpectedArgument, `Unexpected argument "${shown(name)}".`, name)
  }

  static unknownField(field: string, target: string): OntapError {
    const message = `The value "${shown(field)}" is invalid for field "${target}".`
    return new OntapError(400, ontapCodes.invalidValue, message, target)
  }

  static invalidValue(field: string, value: string, right: string): OntapError {
    const message = `The value "${shown(value)}" is invalid for field "${field}" (it takes ${right}).`
    return new OntapError(400, ontapCodes.invalidValue, message, field)
  }

  static readOnlyField(field: string): OntapError {
    return new OntapError(
      400,
      ontapCodes.readOnlyField,
      `Field "${field}" cannot be set in this operation.`,
      field,
    )
  }

  static missingField(field: string, right: string): OntapError {
    return new OntapError(
      400,
      ontapCodes.invalid,
      `Field "${field}" is missing, and needed: ${right}.`,
      field,
    )
  }

  static notFound(what: string, target?: string): OntapError {
    return new OntapError(404, ontapCodes.noSuchEntry, `entry doesn't exist: ${shown(what)}`, target)
  }

  static inUse(message: string, target?: string): OntapError {
    return new OntapError(409, ontapCodes.inUse, message, target)
  }
}

const shown = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}…` : text)
