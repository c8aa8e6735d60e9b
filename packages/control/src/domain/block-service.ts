/** A service of Block Storage as `os-services` lists it: one `cinder-volume` for each backend, one scheduler. */
export interface BlockService {
  id: string
  binary: 'cinder-volume' | 'cinder-scheduler'
  /** `HOST@BACKEND` for cinder-volume. */
  host: string
  disabled: boolean
  disabledReason: string | null
  frozen: boolean
  updatedAt: string
}

export const backendHost = (host: string, backend: string): string => `${host}@${backend}`
