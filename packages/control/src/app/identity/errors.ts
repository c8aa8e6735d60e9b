import { DomainError } from '@volant/contract'
import { isAdmin, type Principal } from '../../domain/principal.ts'

/** One text for every reason, so that nobody learns which users, passwords and projects there are. */
export const unauthenticated = (detail: string): DomainError =>
  new DomainError('unauthenticated', 'The request you have made requires authentication.', { detail })

export const notFound = (kind: string, id: string): DomainError =>
  new DomainError('notFound', `Could not find ${kind}: ${id}.`)

export const forbidden = (policy: string): DomainError =>
  new DomainError('forbidden', `You are not authorized to perform the requested action: ${policy}.`)

export const duplicate = (kind: string, name: string, domainId?: string): DomainError =>
  new DomainError(
    'conflict',
    `Conflict occurred attempting to store ${kind} - Duplicate entry found with name ${name}` +
      `${domainId === undefined ? '' : ` at domain ID ${domainId}`}.`,
  )

export function requireAdmin(principal: Principal, policy: string): void {
  if (!isAdmin(principal)) throw forbidden(policy)
}

export function requireSelfOrAdmin(principal: Principal, userId: string, policy: string): void {
  if (principal.userId !== userId && !isAdmin(principal)) throw forbidden(policy)
}
