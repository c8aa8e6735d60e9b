/** Who makes a request, as its token says. */
export interface Principal {
  userId: string
  userName: string
  userDomainId: string
  /** Null for an unscoped or system-scoped token. */
  projectId: string | null
  projectName: string | null
  /** Role names, lower case, implied roles included (admin implies member implies reader). */
  roles: readonly string[]
  systemScope: boolean
  /** Seconds since the epoch. */
  expiresAt: number
}

export const isAdmin = (principal: Principal): boolean => principal.roles.includes('admin')
