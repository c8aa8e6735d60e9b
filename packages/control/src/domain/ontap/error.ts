/** ONTAP's error form: `{"error": {"code", "message", "target"}}`. Codes as its REST reference lists them. */
export class OntapError extends Error {
  readonly status: number
  readonly code: string
  readonly target: string | undefined

  constructor(status: number, code: string, message: string, target?: string) {
    super(message)
    this.status = status
    this.code = code
    this.target = target
  }

  static unexpectedArgument(name: string): OntapError {
    return new OntapError(400, '262179', `Unexpected argument "${name}".`, name)
  }

  static unknownField(field: string, target: string): OntapError {
    return new OntapError(400, '262197', `The value "${field}" is invalid for field "${target}".`, target)
  }

  static invalidValue(field: string, value: string, right: string): OntapError {
    const message = `The value "${value}" is invalid for field "${field}" (it takes ${right}).`
    return new OntapError(400, '262197', message, field)
  }

  static notFound(what: string, target?: string): OntapError {
    return new OntapError(404, '4', `entry doesn't exist: ${what}`, target)
  }
}
