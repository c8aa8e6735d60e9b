/**
 * Who calls an agent. Every call that changes something carries it. An agent remembers the highest `fence` it
 * has seen and refuses a lower one with `staleFence`: a control plane that was replaced can do no more harm.
 */
export interface Caller {
  /** Rises with each control plane that takes over. */
  fence: number
  /** The operation on whose behalf the call is made; it names jobs and processes in the data plane. */
  operationId?: string
}
